"""The campaign files that come with alflow: each is read and planned, and one of each kind is run, made short."""

from __future__ import annotations

import json
import tomllib

import commandline
import pytest
from shortcampaigns import CONFIGS, SHORT, campaign_files

from alflow.campaign.plan import make_plan
from alflow.config.load import load_campaign, to_toml, validate_campaign
from alflow.config.plugins import POTENTIALS, find
from alflow.files.resources import list_resources

FILES = pytest.mark.parametrize("path", campaign_files(), ids=lambda path: path.relative_to(CONFIGS).as_posix())
KINDS = (
    "gfn2-over-dftb3",
    "quickstart",
    "hexane",
    "hexane-mace",
    "alkanes",
    "schnet",
    "paper/fig3",
    "paper/fig4",
    "paper/fig5-5",
)
"""Those that between them choose every way through the loop that a file of the folder chooses."""
DEAR = "dft"
"""Folder of those whose labels cost minutes: they are read and planned, and not run here."""
CHOICES = (
    "labels.engine",
    "potential.kind",
    "potential.driver",
    "split.kind",
    "sampling.relax_with",
    "selection.threshold",
    "selection.cap_order",
    "selection.spread_of",
    "training.start",
    "potential.ani.training.preset",
    "potential.schnet.preset",
)


def choice(data, key):
    for step in key.split("."):
        data = data.get(step, {})  # of another kind of potential
    return data or None


@FILES
def test_a_file_is_read_and_its_resolved_form_is_the_same_campaign(path):
    settings = load_campaign(path)
    resolved = tomllib.loads(to_toml(settings))
    assert validate_campaign(resolved, "resolved") == settings
    assert list_resources("configs")[path.relative_to(CONFIGS).with_suffix("").as_posix()]


@FILES
def test_a_file_plans_its_pulls(path):
    settings = load_campaign(path)
    plan = make_plan(settings)
    planned = plan.pulls
    assert len(planned) == len(plan.systems) * settings.sampling.replicas.certify
    assert [spec.index for spec in planned] == list(range(len(planned)))
    for spec in planned if settings.sampling.bias is None else ():
        stretch = spec.settings.steps * spec.settings.timestep_fs * 1e-3 * spec.settings.rate_angstrom_per_ps
        assert stretch > 3.0, "a pull of a file of this folder goes on until a bond breaks"


def test_the_files_that_are_run_choose_all_that_any_file_chooses():
    def chosen(paths):
        data = [load_campaign(path).model_dump() for path in paths]
        return {key: {choice(found, key) for found in data} for key in CHOICES}

    cheap = [path for path in campaign_files() if path.parent.name != DEAR]
    assert chosen([CONFIGS / f"{name}.toml" for name in KINDS]) == chosen(cheap)


@pytest.mark.parametrize("name", KINDS)
def test_a_file_runs_when_it_is_made_short(name, tmp_path):
    kind = load_campaign(CONFIGS / f"{name}.toml").potential.kind
    if missing := find(POTENTIALS, kind).missing():
        pytest.skip(f"the potential {kind!r} needs {', '.join(missing)}, not installed here")
    overrides = [word for setting in (*SHORT, "iterations=2", "sampling.replicas=1") for word in ("--set", setting)]
    site = ("-o", "kind=threads", "-o", "workers=2", "-o", "gpu_workers=2")
    command = ("run", str(CONFIGS / f"{name}.toml"), *site, *overrides, "--run-dir", "run")
    code, out, err = commandline.alflow(tmp_path, *command)
    assert code == 0, err or out
    assert "all 2 iterations are done" in out
    records = [json.loads(line) for line in (tmp_path / "run" / "iterations.jsonl").read_text().splitlines()]
    assert [record["iteration"] for record in records] == [0, 1]
    assert records[1]["labels"] > records[0]["labels"] or not records[0]["selected"]
