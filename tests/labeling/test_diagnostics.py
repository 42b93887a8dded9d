"""What an engine tells of a label besides: kept all the way to the files, and never a reason to lose a label."""

from __future__ import annotations

import ase.db
import ase.io
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alflow.farm.partial import FrameLabel, LabelJob, PartialOutput
from alflow.labeling.frames import label_frames, sound
from alflow.labeling.guard.messages import pack_evaluation, unpack_evaluation
from alflow.labeling.outliers import refuse_outliers
from alflow.ledger import Ledger, Origin, label_rows
from alflow.ledger.export import export_labels
from alflow.structures import read_structures
from alflow.types import Evaluation, Frames
from alflow.workers.reply import LabelReply

NUMBERS = np.array([1, 1])
FRAMES = Frames.of(NUMBERS, np.array([[[0.0, 0, 0], [0, 0, gap]] for gap in (0.4, 0.8, 3.0, 4.0)]))
"""Of which the first is too tight for any engine."""


class Telling:
    """An engine that tells the distance of two atoms, but not of all."""

    theory = "telling"

    def compute(self, composition, positions, start=None):
        gap = float(positions[1, 2])
        told = {} if gap > 3.5 else {"gap": gap, "tries": 2}
        return Evaluation(gap, np.zeros((len(composition), 3)), diagnostics=told)


@pytest.fixture
def batch():
    return LabelReply.unpack(LabelReply(label_frames(Telling(), FRAMES), "telling").pack()).batch


def test_they_go_from_the_engine_to_the_ledger_and_into_exports(tmp_path, batch):
    assert batch.diagnostics == ({}, {"gap": 0.8, "tries": 2.0}, {"gap": 3.0, "tries": 2.0}, {})
    batch = refuse_outliers(batch, 1.0, 2.5, "here")  # takes the last label out
    origins = [Origin("selected", 1, 0, step) for step in range(4)]
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.add(label_rows("telling", FRAMES, batch, origins, "here", 0.0))
        found = {row.origin.step: row.diagnostics for row in ledger.rows()}
        assert found == {0: {}, 1: {"gap": 0.8, "tries": 2.0}, 2: {"gap": 3.0, "tries": 2.0}, 3: {}}
        digest = ledger.digest()
        export_labels(ledger, tmp_path / "out.xyz")
        export_labels(ledger, tmp_path / "out.db")
    images = ase.io.read(tmp_path / "out.xyz", ":")
    assert [image.info["diagnostic_gap"] for image in images] == [0.8, 3.0]
    assert [image.info["diagnostic_tries"] for image in images] == [2.0, 2.0]
    kept = [row.data["diagnostics"]["gap"] for row in ase.db.connect(tmp_path / "out.db").select()]
    assert kept == [0.8, 3.0]
    with Ledger.open(tmp_path / "other.sqlite") as other:  # equal labels are equal ledgers, whatever is told besides
        other.add(label_rows("telling", FRAMES, LabelReply(batch, "telling").batch, origins, "there", 9.0))
        assert other.digest() == digest


def test_a_reply_of_a_version_that_tells_none_is_read(batch):
    packed = LabelReply(batch, "telling").pack()
    del packed["diagnostics"]
    assert LabelReply.unpack(packed).batch.diagnostics == ()


def test_an_output_keeps_them_through_an_interrupt_and_drops_those_of_an_earlier_label(tmp_path):
    atoms = ase.Atoms("H2", FRAMES.positions[1], info={"diagnostic_gap": 9.0, "diagnostic_old": 1.0, "mine": 5})
    ase.io.write(tmp_path / "in.xyz", [atoms, atoms])
    job = LabelJob(read_structures(tmp_path / "in.xyz").structures, "telling", "settings", "limits")
    with PartialOutput(tmp_path / "out.xyz", job, overwrite=False) as partial:
        partial.add({0: FrameLabel(1.0, np.zeros((2, 3)), diagnostics={"gap": 0.1 + 0.2})}, "telling")
    with PartialOutput(tmp_path / "out.xyz", job, overwrite=False) as partial:
        assert partial.labels[0].diagnostics == {"gap": 0.1 + 0.2}
        partial.add({1: FrameLabel(2.0, np.zeros((2, 3)))}, "telling")
        partial.finish()
    first, second = ase.io.read(tmp_path / "out.xyz", ":")
    assert (first.info["diagnostic_gap"], first.info["mine"]) == (0.1 + 0.2, 5)
    assert not [key for key in (*first.info, *second.info) if key == "diagnostic_old"]
    assert "diagnostic_gap" not in second.info


anything = st.one_of(
    st.none(), st.text(max_size=3), st.floats(), st.integers(), st.lists(st.floats(), max_size=2), st.complex_numbers()
)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.none(), st.text(max_size=3), st.dictionaries(st.text(max_size=4), anything, max_size=4)))
def test_whatever_is_told_costs_no_label_and_travels_as_finite_numbers(told):
    checked = sound(Evaluation(1.0, np.zeros((2, 3)), diagnostics=told), NUMBERS)
    assert checked.energy == 1.0
    assert all(type(value) is float and np.isfinite(value) for value in checked.diagnostics.values())
    assert unpack_evaluation(pack_evaluation(checked)).diagnostics == checked.diagnostics
