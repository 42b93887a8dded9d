"""Several starting structures of one file: other molecules and other conformers, one ensemble."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from basecampaigns import run, settings_with

from alflow.campaign.plan import make_plan
from alflow.errors import ConfigError, InputError
from alflow.runs.directory import RunDirectory
from alflow.structures import alkane


def molecule(carbons, turned=0.0, **info):
    frames = alkane(carbons)
    positions = frames.positions[0].copy()
    positions[-1] += turned
    return Atoms(frames.numbers, positions, info=info)


def write(path, frames):
    ase.io.write(path, frames, format="extxyz")
    return {"system": {"structure": str(path), "frames": "all"}}


def test_each_frame_is_a_start_with_atoms_of_its_own(tmp_path):
    frames = [molecule(2), molecule(2, turned=0.05), molecule(3, pulled_atoms=np.array([0, 2]))]
    plan = make_plan(settings_with(**write(tmp_path / "starts.xyz", frames)))
    assert [one.name for one in plan.molecules] == ["starts-0", "starts-1", "starts-2"]
    assert [one.steered for one in plan.molecules] == [(0, 1), (0, 1), (0, 2)]
    assert plan.molecules[0].composition == plan.molecules[1].composition
    assert len(plan.pulls) == 3


def test_several_starts_train_one_ensemble_and_go_on_from_the_runs_copy(tmp_path):
    source = tmp_path / "starts.xyz"
    changes = write(source, [molecule(2), molecule(2, turned=0.05), molecule(3)])
    run(tmp_path / "run", iterations=1, **changes)
    source.unlink()
    run(tmp_path / "run", iterations=2, **changes)
    first, second = RunDirectory(tmp_path / "run").records()
    assert len(first.barrier_ev.values) == len(second.barrier_ev.values) == 3
    assert second.audit is not None


REFUSED = {
    "an atom twice": ([molecule(2, pulled_atoms=np.array([1, 1]))], r"two different atoms.*frame 0"),
    "three atoms": ([molecule(2, pulled_atoms=np.array([0, 1, 2]))], r"two different atoms.*frame 0"),
    "words": ([molecule(2), molecule(2, pulled_atoms="ends")], r"two different atoms.*frame 1"),
    "an atom that is not there": ([molecule(2, pulled_atoms=np.array([0, 99]))], "99"),
    "other charges": ([molecule(2), molecule(2, charge=2)], r"the same; those of .* have \+0, \+2"),
    "an atom on another": ([molecule(2), Atoms("H2", np.zeros((2, 3)))], "frame 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_frames_that_are_no_starts_are_refused_with_a_sentence(tmp_path, case):
    frames, words = REFUSED[case]
    with pytest.raises(InputError, match=words) as refusal:
        make_plan(settings_with(**write(tmp_path / "starts.xyz", frames)))
    assert str(refusal.value).endswith((".", "?"))


def test_all_frames_of_no_file_are_refused():
    with pytest.raises(ConfigError, match="give structure, or leave frames out"):
        settings_with(system__frames="all")
