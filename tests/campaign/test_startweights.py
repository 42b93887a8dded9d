"""Weights of a file as the start of the first training."""

import shutil

import numpy as np
import pytest
import torch
from basecampaigns import fail_at_call, run, settings_with

from alflow.campaign.plan import make_plan
from alflow.campaign.startweights import read_weights
from alflow.errors import CampaignError, ConfigError, RunError
from alflow.potentials import load_potential
from alflow.potentials.ani.interop import PUBLISHED, _published
from alflow.runs.directory import RunDirectory, load_dataset


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Return the ensemble of a finished run."""
    path = tmp_path_factory.mktemp("first") / "run"
    run(path, iterations=1)
    return RunDirectory(path).iteration(0) / "ensemble.pt"


def test_a_campaign_starts_from_a_file_of_weights_and_goes_on_without_it(weights, tmp_path, monkeypatch):
    copy = tmp_path / "weights.pt"
    shutil.copyfile(weights, copy)
    changes = {"iterations": 1, "seed": 5, "training__weights": str(copy)}
    whole = run(tmp_path / "whole", **changes)
    with monkeypatch.context() as patched:
        fail_at_call(patched, "train", 1)
        with pytest.raises(CampaignError, match="planted"):
            run(tmp_path / "run", **changes)
    copy.unlink()
    assert run(tmp_path / "run", **changes) == whole
    folder = RunDirectory(tmp_path / "run").iteration(0)
    (group,) = load_dataset(folder / "dataset.npz").groups
    energies, forces = load_potential(folder / "base.pt").evaluate(group.frames)
    np.testing.assert_allclose((energies - group.labels.energies).mean(axis=1), 0.0, atol=1e-4)
    np.testing.assert_allclose(forces, load_potential(weights).evaluate(group.frames)[1], atol=1e-5)
    (tmp_path / "weights.pt").write_bytes(weights.read_bytes() + b"\n")
    with pytest.raises(RunError, match="another file of weights"):
        run(tmp_path / "run", **changes)


def test_a_published_model_is_taken_for_the_elements_of_the_campaign(tmp_path):
    torch.save(_published(PUBLISHED["ani2x"], 2).state_dict(), tmp_path / "ani2x.pt")
    plan = make_plan(settings_with(training__weights=str(tmp_path / "ani2x.pt")))
    found = read_weights(plan, RunDirectory(tmp_path / "run"))
    found.keep(RunDirectory(tmp_path / "run"))
    kept = load_potential(tmp_path / "run" / "first-data" / "weights.pt")
    assert kept.functions.elements == (1, 6)
    assert kept.members == 2


def none(path):
    del path


REFUSED = {
    "no file": (none, "cannot be read: No such file"),
    "a folder": (lambda path: path.mkdir(), "cannot be read"),
    "empty": (lambda path: path.touch(), "must be one that alflow wrote|is neither"),
    "text": (lambda path: path.write_text("weights"), "must be one that alflow wrote|is neither"),
    "something else": (lambda path: torch.save({"a": 1}, path), "is neither"),
    "one member": (lambda path: torch.save(_published(PUBLISHED["ani2x"], 1).state_dict(), path), "has 1 members"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_campaign_cannot_start_from_is_refused_with_a_sentence(tmp_path, case):
    make, words = REFUSED[case]
    make(tmp_path / "weights.pt")
    plan = make_plan(settings_with(training__weights=str(tmp_path / "weights.pt")))
    with pytest.raises(ConfigError, match=words) as refusal:
        read_weights(plan, RunDirectory(tmp_path / "run"))
    assert str(refusal.value).startswith("training.weights: ")
    assert str(refusal.value).endswith(".")


def test_weights_and_a_base_that_has_some_do_not_go_together():
    with pytest.raises(ConfigError, match="both say what the ensemble starts from"):
        settings_with(training__weights="a.pt", base={"run": "b"})
