"""Files of a run directory, damaged in any way: each is read as it was written, or refused in one sentence."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import row

from alflow.errors import RunError
from alflow.ledger import Ledger, LedgerReader, check_ledger
from alflow.runs.directory import (
    RunDirectory,
    load_dataset,
    load_members,
    load_state,
    save_dataset,
    save_members,
    save_state,
)
from alflow.types import Dataset, Frames, Group, Labels, MDState, Member, MemberErrors, Split

ANY = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DAMAGE = st.one_of(
    st.tuples(st.just("cut"), st.floats(0.0, 1.0), st.just(b"")),
    st.tuples(st.just("over"), st.floats(0.0, 1.0), st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("into"), st.floats(0.0, 1.0), st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("all"), st.just(0.0), st.binary(max_size=60)),
    st.tuples(
        st.just("all"), st.just(0.0), st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=6,
        ).map(lambda value: json.dumps(value).encode()),
    ),
)  # fmt: skip


def damaged(content, damage):
    kind, share, data = damage
    place = int(share * len(content))
    if kind == "all":
        return data
    if kind == "cut":
        return content[:place]
    return content[:place] + data + content[place + (len(data) if kind == "over" else 0) :]


def write_members(path):
    errors = MemberErrors(0.1, 0.2, 0.3, 0.4)
    split = Split(np.array([0, 1]), np.array([2]))
    save_members(path, (Member(0, split, errors, errors, errors, best_epoch=1, epochs=2),))


def write_dataset(path):
    frames = Frames.of(np.array([1, 1]), np.zeros((2, 2, 3)))
    save_dataset(path, Dataset((Group(frames, Labels(np.zeros(2), np.zeros((2, 2, 3)))),)))


def write_state(path):
    save_state(path, MDState(3, np.zeros((2, 3)), np.zeros((2, 3))))


def write_identity(path):
    path.write_text(json.dumps({"theory": "a" * 64, "molecule": "b" * 64}, indent=1))


PIECES = {
    "members.json": (write_members, load_members),
    "dataset.npz": (write_dataset, load_dataset),
    "start.npz": (write_state, load_state),
    "identity.json": (write_identity, lambda path: RunDirectory(path.parent).identity()),
}


@pytest.mark.parametrize("name", PIECES)
@given(damage=DAMAGE)
@ANY
def test_outsider_a_piece_of_a_run_is_read_or_refused_in_a_sentence(tmp_path, name, damage):
    write, read = PIECES[name]
    path = tmp_path / name
    write(path)
    path.write_bytes(damaged(path.read_bytes(), damage))
    said = ""
    try:
        read(path)
    except RunError as error:
        said = str(error)
    assert not said or (name in said and "damaged" in said and "\n" not in said)


@given(damage=DAMAGE)
@settings(ANY, max_examples=80)
def test_outsider_a_damaged_ledger_is_no_empty_one(tmp_path, damage):
    path = tmp_path / "ledger.sqlite"
    path.unlink(missing_ok=True)
    with Ledger.open(path) as ledger:
        ledger.add([row(seed) for seed in range(6)])
    content = damaged(path.read_bytes(), damage)
    path.write_bytes(content)
    with contextlib.suppress(RunError), LedgerReader.open(path) as ledger:
        report = check_ledger(ledger)
        assert report.labelled == 6 or not report.sound


@pytest.mark.parametrize("content", [None, b""])
def test_outsider_a_run_whose_labels_are_gone_is_refused(tmp_path, content):
    run = RunDirectory(tmp_path)
    run.check_labels()
    run.iteration(0).mkdir()
    write_dataset(run.iteration(0) / "dataset.npz")
    if content is not None:
        run.ledger.write_bytes(content)
    with pytest.raises(RunError, match="keeps the labels that it learnt from"):
        run.check_labels()
