"""Fine-tuning from a file, and a member as such a file."""

import numpy as np
import pytest
import torch
from ase import Atoms

pytest.importorskip("mace")

from alflow.config.plugins import POTENTIALS, find
from alflow.errors import InputError
from alflow.potentials.mace.architecture import architecture_of, weights_of
from alflow.potentials.mace.ensemble import MACEEnsemble
from alflow.potentials.mace.export import write_model
from alflow.potentials.mace.foundation import read_foundation
from alflow.potentials.mace.settings import MACESettings
from alflow.potentials.mace.training import train_mace_ensemble
from alflow.structures import alkane
from alflow.types import Frames

SMALL = MACESettings(
    channels=4, max_l=1, correlation=2, spherical_l=2, radial_functions=4, radial_layers=(8,), precision="double"
)


def shaken(carbons, count=2, seed=0):
    frames = alkane(carbons)
    noise = np.random.default_rng(seed).normal(0, 0.05, (count, len(frames.numbers), 3))
    return Frames.of(frames.numbers, frames.positions + noise)


@pytest.fixture(scope="module")
def known():
    """Return an ensemble of one member that knows five elements."""
    architecture = architecture_of(SMALL, (1, 6, 7, 8, 16), 8.0)
    energies = np.array([[-13.5, -1030.0, -1480.0, -2040.0, -10800.0]])
    return MACEEnsemble(architecture, (weights_of(architecture.module(seed=5)),), energies, "cpu")


@pytest.fixture(scope="module")
def file(known, tmp_path_factory):
    path = tmp_path_factory.mktemp("foundation") / "foundation.model"
    write_model(known, 0, path)
    return path


def test_mace_reads_what_is_written_and_says_the_same(known, file):
    from mace.calculators import MACECalculator

    frames = shaken(2)
    energies, forces = known.evaluate(frames)
    calculator = MACECalculator(model_paths=str(file), device="cpu", default_dtype="float64")
    try:
        for row in range(len(frames)):
            atoms = Atoms(frames.numbers, frames.positions[row], calculator=calculator)
            assert atoms.get_potential_energy() == pytest.approx(energies[0, row], abs=1e-8)
            np.testing.assert_allclose(atoms.get_forces(), forces[0, row], atol=1e-8)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("precision", "close"), [("double", 1e-9), ("single", 1e-4)])
def test_a_network_cut_to_few_elements_says_the_same(known, file, precision, close):
    architecture, weights = read_foundation(file, None, (1, 6), precision)
    cut = MACEEnsemble(architecture, (weights,), known.self_energies[:, :2], "cpu")
    frames = shaken(2)
    for mine, theirs in zip(cut.evaluate(frames), known.evaluate(frames), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=close)
    assert cut.elements == (1, 6)
    assert architecture.precision == precision


def test_members_start_from_the_file(file, dataset, splits):
    settings = MACESettings(
        foundation=str(file), epochs=1, learning_rate=1e-12, averaging=0.0, device="cpu", precision="double"
    )
    found, members = train_mace_ensemble(dataset, splits, settings, seed=(7,))
    _, weights = read_foundation(file, None, (1, 6), "double")
    for member in found.weights:
        for name, value in weights.items():
            torch.testing.assert_close(member[name], value, rtol=0, atol=1e-7)
    energies = np.concatenate([g.labels.energies for g in dataset.groups])
    gap = np.concatenate([found.evaluate(g.frames)[0][0] for g in dataset.groups]) - energies
    assert abs(gap[:24].mean()) < 1e-6  # of either composition: energies of atoms are a fit to what the file leaves
    assert abs(gap[24:].mean()) < 1e-6
    assert [member.epochs for member in members] == [1, 1]
    learnt, _ = train_mace_ensemble(dataset, splits[:1], settings.model_copy(update={"learning_rate": 1e-2}), seed=(7,))
    assert not torch.equal(learnt.weights[0]["readouts.0.linear.weight"], weights["readouts.0.linear.weight"])


def _nothing(path):
    path.unlink(missing_ok=True)


def _folder(path):
    path.mkdir()


def _text(path):
    path.write_text("not a model")


def _empty(path):
    path.write_bytes(b"")


def _half(path):
    torch.save(torch.nn.Linear(50, 50), path)
    path.write_bytes(path.read_bytes()[:2000])


def _weights(path):
    torch.save({"format": "alflow-mace-1"}, path)


def _tensor(path):
    torch.save(torch.zeros(3), path)


def _other_network(path):
    torch.save(torch.nn.Linear(2, 2), path)


WRONG = [_nothing, _folder, _text, _empty, _half, _weights, _tensor, _other_network]


@pytest.mark.parametrize("make", WRONG, ids=lambda make: make.__name__)
def test_a_file_of_another_kind_is_refused_with_a_sentence(tmp_path, make):
    path = tmp_path / "given.model"
    make(path)
    with pytest.raises(InputError, match=r"^A foundation model .*given\.model"):
        find(POTENTIALS, "mace").check(MACESettings(foundation=str(path)), (1, 6))


def test_an_element_or_a_head_that_it_does_not_have_is_refused(file):
    kind = find(POTENTIALS, "mace")
    kind.check(MACESettings(foundation=str(file)), (1, 6))
    kind.check(MACESettings(foundation=str(file), foundation_head="Default"), (1, 6))
    with pytest.raises(InputError, match="does not know the atomic numbers 9, 79"):
        kind.check(MACESettings(foundation=str(file)), (1, 9, 79))
    with pytest.raises(InputError, match="which has Default; got 'other'"):
        kind.check(MACESettings(foundation=str(file), foundation_head="other"), (1, 6))


@pytest.mark.parametrize("make", [_nothing, _text])
def test_a_campaign_with_such_a_file_ends_with_a_sentence_and_code_2(alflow, tiny_file, tmp_path, make):
    path = tmp_path / "given.model"
    make(path)
    tables = f'\n[potential]\nkind = "mace"\n[potential.mace]\nfoundation = "{path}"\n'
    kept = [block for block in tiny_file.read_text().split("\n[") if not block.startswith(("potential", "training"))]
    tiny_file.write_text("\n[".join(kept) + tables)
    code, _, error = alflow("run", tiny_file, "--site", "local")
    assert code == 2
    assert "A foundation model" in error
    assert "Traceback" not in error
