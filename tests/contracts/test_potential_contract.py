"""What every potential has to be, whoever brings it."""

import numpy as np
import pytest
from guests import welcome

from alflow.config.plugins import POTENTIALS, PluginError, find_installed, names
from alflow.errors import StructureError
from alflow.potentials import Training, join_files, kind_of, load_potential
from alflow.potentials.selfenergies import shifts_between
from alflow.types import Dataset, Frames, Group, Labels, Split

welcome()
SPLITS = [Split(np.arange(0, 9), np.arange(9, 12)), Split(np.arange(3, 12), np.arange(0, 3))]


def kinds():
    for name in names(POTENTIALS):
        try:
            yield name, find_installed(POTENTIALS, name)
        except PluginError:
            continue


KINDS = dict(kinds())


@pytest.fixture(params=KINDS, scope="module")
def kind(request):
    return KINDS[request.param]


@pytest.fixture(scope="module")
def settings(kind):
    return kind.settings.model_validate(kind.example)


@pytest.fixture(scope="module")
def trained(kind, settings, dataset):
    return kind.train(dataset, SPLITS, settings, Training(seed=(7,)))


def same(one, other, frames):
    return all(np.array_equal(a, b) for a, b in zip(one.evaluate(frames), other.evaluate(frames), strict=True))


def test_a_training_gives_members_with_their_errors(trained, dataset):
    ensemble, members = trained
    assert ensemble.members == len(members) == 2
    assert [member.index for member in members] == [0, 1]
    energies, forces = ensemble.evaluate(dataset.groups[0].frames)
    gap = energies[0] - dataset.groups[0].labels.energies
    assert members[0].all_errors.energy_mae_ev == pytest.approx(np.abs(gap).mean(), rel=1e-3)
    assert forces.shape == (2, *dataset.groups[0].frames.positions.shape)


def test_a_member_is_the_same_alone_and_in_company(kind, settings, trained, dataset, tmp_path):
    ensemble, _ = trained
    files = []
    for member in range(2):
        alone, report = kind.train(dataset, SPLITS, settings, Training(seed=(7,), members=(member,)))
        assert [one.index for one in report] == [member]
        assert same(alone, ensemble.select([member]), dataset.groups[0].frames)
        files.append(tmp_path / f"{member}.pt")
        alone.save(files[-1])
    join_files(files, tmp_path / "both.pt")
    assert same(load_potential(tmp_path / "both.pt"), ensemble, dataset.groups[0].frames)


def test_what_is_saved_is_what_is_read(kind, trained, ethane, tmp_path):
    trained[0].save(tmp_path / "ensemble.pt")
    assert kind_of(tmp_path / "ensemble.pt") is kind
    assert same(load_potential(tmp_path / "ensemble.pt"), trained[0], ethane)
    assert [path.name for path in tmp_path.iterdir()] == ["ensemble.pt"]


@pytest.mark.parametrize("driver", ["mean", 0, 1])
def test_what_drives_a_trajectory_is_what_is_evaluated(trained, ethane, driver):
    ensemble = trained[0]
    energies, forces = ensemble.evaluate(ethane.take(slice(1)))
    found = ensemble.force_model(ethane.composition, driver)(ethane.positions[0])
    energy, force = (array[:, 0].mean(axis=0) if driver == "mean" else array[driver, 0] for array in (energies, forces))
    assert found.energy == pytest.approx(energy, abs=1e-4)
    np.testing.assert_allclose(found.forces, force, atol=1e-4)
    assert found.spread == pytest.approx(energies[:, 0].std(), abs=1e-4)


def test_forces_are_the_slope_of_the_energy(trained, ethane):
    step = 2e-3
    model = trained[0].force_model(ethane.composition)
    forces = model(ethane.positions[0]).forces
    for atom, axis in [(0, 0), (1, 1), (5, 2)]:
        there, back = ethane.positions[0].copy(), ethane.positions[0].copy()
        there[atom, axis] += step
        back[atom, axis] -= step
        slope = (model(there).energy - model(back).energy) / (2 * step)
        assert forces[atom, axis] == pytest.approx(-slope, abs=5e-3 * max(1.0, abs(slope)))


def test_what_is_no_number_gives_none(trained, ethane):
    positions = ethane.positions[:2].copy()
    positions[1, 0, 0] = np.nan
    energies, forces = trained[0].evaluate(Frames.of(ethane.numbers, positions))
    assert np.isfinite(energies[:, 0]).all()
    assert np.isnan(energies[:, 1]).all()
    assert np.isnan(forces[:, 1]).any()


def test_an_element_that_it_never_saw_is_refused(trained):
    with pytest.raises(StructureError):
        trained[0].evaluate(Frames.of(np.array([79, 79]), np.array([[[0.0, 0, 0], [0, 0, 2.6]]])))


class KilledError(Exception):
    """Ends a training in the middle."""


def test_a_training_that_was_killed_goes_on_to_the_same_bits(kind, settings, trained, dataset, tmp_path):
    def kill(done, _all):
        if done == 2:
            raise KilledError

    checkpoint = tmp_path / "members.checkpoint"
    if kind.epochs(settings, carried_over=False) > 2:
        with pytest.raises(KilledError):
            kind.train(dataset, SPLITS, settings, Training(seed=(7,), checkpoint=checkpoint, progress=kill))
    resumed, _ = kind.train(dataset, SPLITS, settings, Training(seed=(7,), checkpoint=checkpoint))
    assert same(resumed, trained[0], dataset.groups[0].frames)


def test_weights_can_be_carried_over(kind, settings, trained, dataset, tmp_path):
    trained[0].save(tmp_path / "before.pt")
    for _ in range(2):
        after, members = kind.train(dataset, SPLITS, settings, Training(seed=(8,), initial=tmp_path / "before.pt"))
        assert len(members) == 2
    assert np.isfinite(after.evaluate(dataset.groups[0].frames)[0]).all()
    assert kind.epochs(settings, carried_over=True) >= 1
    assert kind.epochs(kind.with_epochs(settings, 1), carried_over=False) == 1


def test_an_ensemble_that_can_be_moved_to_another_theory_has_other_energies_and_the_same_forces(
    kind, trained, ethane, tmp_path
):
    ensemble, _ = trained
    if not kind.transfers:
        assert not hasattr(ensemble, "shifted")
        return
    shifts = {1: np.array([0.5, -1.0]), 6: np.array([-100.0, 30.0])}
    moved = ensemble.shifted(shifts)
    before, after = ensemble.evaluate(ethane), moved.evaluate(ethane)
    more = np.array([6 * 0.5 - 2 * 100.0, -6 * 1.0 + 2 * 30.0])
    np.testing.assert_allclose(after[0] - before[0], more[:, None] + np.zeros_like(before[0]), atol=1e-9)
    np.testing.assert_array_equal(after[1], before[1])
    moved.save(tmp_path / "moved.pt")
    assert same(load_potential(tmp_path / "moved.pt"), moved, ethane)


def test_an_ensemble_of_another_theory_is_learnt_on_from(kind, settings, trained, dataset, tmp_path):
    """Labels that are those of before and a constant for each element need no more than the constants."""
    if not kind.transfers:
        return
    ensemble, _ = trained
    constants = {1: -3.0, 6: 20.0}
    groups = []
    for group in dataset.groups:
        more = sum(constants[int(number)] for number in group.frames.numbers)
        energies, forces = ensemble.evaluate(group.frames)
        groups.append(Group(group.frames, Labels(energies.mean(axis=0) + more, forces.mean(axis=0))))
    moved = Dataset(tuple(groups))
    predicted = np.concatenate([ensemble.evaluate(group.frames)[0] for group in moved.groups], axis=1)
    shifts = shifts_between(moved, predicted)
    start = ensemble.shifted(shifts)
    for group in moved.groups:
        gaps = start.evaluate(group.frames)[0] - group.labels.energies
        np.testing.assert_allclose(gaps.mean(axis=0), 0.0, atol=1.0)
    start.save(tmp_path / "start.pt")
    training = Training(seed=(7,), initial=tmp_path / "start.pt")
    learnt, members = kind.train(moved, SPLITS, settings, training)
    fresh = kind.train(moved, SPLITS, settings, Training(seed=(7,)))[1]
    assert learnt.members == 2
    assert members[0].all_errors.force_mae_ev_per_angstrom < fresh[0].all_errors.force_mae_ev_per_angstrom
