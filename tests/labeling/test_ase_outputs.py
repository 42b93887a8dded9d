"""A program that tells in a file alone that it did not converge gives no label."""

from __future__ import annotations

import os
from pathlib import Path

import ions
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from alflow.errors import LabelError
from alflow.labeling.engines import outputs
from alflow.labeling.engines.ase import ASEEngine
from alflow.labeling.engines.outputs import SAYINGS, said_in
from alflow.labeling.kinds.ase import ASECalculatorSettings
from alflow.types import Composition

HERE = Path(ions.__file__).parent
OXYGEN = np.array([8, 8])
APART = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.21]])


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(HERE)


def engine(text: str, work: Path, **given) -> ASEEngine:
    settings = ASECalculatorSettings(calculator="ions.Telling", arguments={"text": text}, kept_failures=0, **given)
    return ASEEngine(settings, work)


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    """Return a work folder; where this process was, and its temporary folder, are restored."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", os.environ.get("TMPDIR", "/tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.mark.parametrize("saying", SAYINGS)
def test_what_a_program_says_of_itself_is_believed(work, saying):
    with pytest.raises(LabelError, match=r"job\.out says") as caught:
        engine(f"cycle 9\n ***  {saying} ***\nE = -1.0\n", work).compute(Composition(OXYGEN), APART)
    assert caught.value.reason == "not-converged"


def test_words_of_a_program_that_nobody_knows_are_given_in_the_settings(work):
    text = "the field is not yet self-consistent"
    assert engine(text, work).compute(Composition(OXYGEN), APART).energy
    with pytest.raises(LabelError, match=r"job\.out says 'not yet self-consistent'"):
        engine(text, work, unconverged_texts=["not yet self-consistent"]).compute(Composition(OXYGEN), APART)


def test_a_program_that_fails_because_it_did_not_converge_says_so_too(work):
    for text, reason in (("SCF failed to converge", "not-converged"), ("disk is full", "engine-error")):
        with pytest.raises(LabelError, match="gave up") as caught:
            engine(text + "!", work).compute(Composition(OXYGEN), APART)
        assert caught.value.reason == reason


def test_a_kept_calculator_whose_output_says_it_is_not_kept(work):
    made = engine("SCF run NOT converged", work, reuse=True)
    with pytest.raises(LabelError, match="did not converge"):
        made.compute(Composition(OXYGEN), APART)
    assert made._kept is None


@pytest.mark.parametrize(
    "text", ["SCF converged", "Convergence criterion for unconverged cycles: 1e-6", "", "\0\xff" * 99]
)
def test_other_output_is_no_failure(work, text):
    assert engine(text, work).compute(Composition(OXYGEN), APART).energy


def test_a_program_in_a_process_of_its_own_is_given_no_long_path(work):
    made = engine("E = -1.0", work)
    made.compute(Composition(OXYGEN), APART)
    assert ions.Ion.seen["directory"] == "."
    assert list(work.rglob("job.out")) == []  # it was written into the label's folder, which is gone
    assert not (work.parent / "job.out").exists()


@effort(max_examples=60, deadline=None)
@given(before=st.integers(0, 300), after=st.integers(0, 300), saying=st.sampled_from(SAYINGS))
def test_the_end_of_a_large_file_is_read(tmp_path_factory, before, after, saying):
    folder = tmp_path_factory.mktemp("label")
    (folder / "a").mkdir()
    (folder / "a" / "job.log").write_bytes(b"\xff" * before + saying.encode() + b"\n" * after)
    (folder / "pipe.fifo").symlink_to("nowhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "MOST_BYTES", 200)
        assert bool(said_in(folder)) == (len(saying) + after <= 200)
