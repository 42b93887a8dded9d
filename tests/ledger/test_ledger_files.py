"""The ledger on its disk: full, killed, damaged, of another version, of another program."""

import multiprocessing
import os
import re
import signal
import sqlite3
import threading
from dataclasses import replace

import pytest
from ledgerwriter import write_until_killed
from rows import WATER, frames, row

from alflow.errors import RunError
from alflow.ledger import (
    Counts,
    Ledger,
    LedgerReader,
    check_ledger,
    schema,
)
from alflow.types import Composition


def test_a_full_disk_is_a_sentence_and_what_waits_can_be_written_later(ledger):
    ledger.add([row(0)])
    ledger.commit()
    pages = ledger.query("PRAGMA page_count").fetchone()[0]
    ledger.query(f"PRAGMA max_page_count = {pages}")
    ledger.add([row(seed) for seed in range(1, 400)])
    with pytest.raises(RunError, match=r"399 rows could not be written .* full\. Make room"):
        ledger.commit()
    assert ledger.pending == 399
    ledger._connection.execute("PRAGMA max_page_count = 100000")
    ledger.commit()
    assert ledger.counts() == Counts(400, 0)
    assert ledger.paid_again() == 0


def test_a_killed_writer_leaves_a_sound_ledger_of_whole_commits(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    writer = context.Process(target=write_until_killed, args=(tmp_path / "l", ready))
    writer.start()
    try:
        assert ready.wait(60)
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    with Ledger.open(tmp_path / "l") as ledger:
        counts = ledger.counts()
        assert counts.labelled >= 42
        assert counts.labelled % 2 == 0
        assert check_ledger(ledger).sound


def test_a_reader_sees_commits_while_the_writer_is_open_and_after_it_has_gone(tmp_path):
    with Ledger.open(tmp_path / "l") as ledger:
        reader = LedgerReader.open(tmp_path / "l")
        ledger.add([row(1)])
        ledger.commit()
        assert reader.counts() == Counts(1, 0)
    reader.close()
    with LedgerReader.open(tmp_path / "l") as late:
        assert late.counts() == Counts(1, 0)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            late.query("DELETE FROM labels")


def test_a_ledger_on_a_disk_that_takes_no_writes_can_be_read(tmp_path, monkeypatch):
    with Ledger.open(tmp_path / "l") as ledger:
        ledger.add([row(1)])
    assert not (tmp_path / "l-wal").exists()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with LedgerReader.open(tmp_path / "l") as reader:
        assert reader.counts() == Counts(1, 0)
        assert check_ledger(reader).sound
    assert [path.name for path in tmp_path.iterdir()] == ["l"]


def test_another_thread_is_refused(ledger):
    errors = []

    def use():
        try:
            ledger.counts()
        except sqlite3.ProgrammingError as error:
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(errors) == 1


def test_files_that_are_no_ledgers_are_refused(tmp_path):
    text = tmp_path / "text"
    text.write_text("not a database, and long enough to have a header" * 40)
    with pytest.raises(RunError, match=r"A ledger is an SQLite file on a writable disk; .*text cannot be used"):
        Ledger.open(text)
    other = tmp_path / "other"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(RunError, match="SQLite file of another program"):
        Ledger.open(other)
    with pytest.raises(RunError, match="there is none at"):
        LedgerReader.open(tmp_path / "absent")
    with pytest.raises(RunError, match="cannot be used"):
        Ledger.open(tmp_path / "no" / "folder")


def test_a_ledger_of_a_later_version_is_refused(tmp_path):
    Ledger.open(tmp_path / "l").close()
    with sqlite3.connect(tmp_path / "l") as connection:
        connection.execute("PRAGMA user_version = 99")
    for kind in (Ledger, LedgerReader):
        with pytest.raises(RunError, match=r"is of version 99\. Use a newer alflow"):
            kind.open(tmp_path / "l")


def test_a_ledger_of_version_1_is_brought_up_to_date_with_its_labels(tmp_path, monkeypatch):
    path = tmp_path / "l"
    with monkeypatch.context() as then:
        then.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        then.setattr(schema, "VERSION", 1)
        Ledger.open(path).close()
    old, label = sqlite3.connect(path), row(1)
    assert "paid" not in {name for _, name, *_ in old.execute("PRAGMA table_info(labels)")}
    old.execute("INSERT INTO theories VALUES (1, 'a')")
    old.execute("INSERT INTO compositions VALUES (1, ?, 0)", (WATER.astype("<i8").tobytes(),))
    old.execute(
        "INSERT INTO labels VALUES (1, ?, 1, 1, ?, 'ok', ?, ?, NULL, '', 'h', 1.0, 9, 0.0)",
        (label.key, label.positions.tobytes(), label.energy, label.forces.tobytes()),
    )
    old.execute("INSERT INTO origins VALUES (1, 'selected', 1, 5, 1, 0)")
    old.commit()
    old.close()
    before = path.read_bytes()
    with LedgerReader.open(path) as ledger:
        assert ledger.lookup("a", frames(label)).labelled.tolist() == [0]
        assert ledger.dataset("a")[0].groups[0].labels.energies.tolist() == [label.energy]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            ledger.query("DELETE FROM labels")
    assert path.read_bytes() == before
    with Ledger.open(path) as ledger:
        assert ledger.lookup("a", frames(label)).labelled.tolist() == [0]
        assert ledger.paid_again() == 0
        ledger.add([label])
        assert ledger.paid_again() == 1
        assert check_ledger(ledger).sound
        assert ledger.query("SELECT pull FROM origins WHERE label = 1 ORDER BY pull").fetchall() == [(0,), (5,)]
        triplet = replace(label, composition=Composition(WATER, 0, 3), energy=-1.0)
        ledger.add([triplet])
        ledger.commit()
        assert [found.composition.multiplicity for found in ledger.rows()] == [3, 1]
        assert [len(group.labels) for group in ledger.dataset("a")[0].groups] == [1, 1]
        assert check_ledger(ledger).sound
        assert [found.diagnostics for found in ledger.rows()] == [{}, {}]
        told = replace(row(2), diagnostics={"s_squared": 1.0})
        ledger.add([told])
        assert [found.diagnostics for found in ledger.rows() if found.key == told.key] == [{"s_squared": 1.0}]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            "UPDATE labels SET positions = substr(positions, 1, 64) WHERE id = 1",
            "Label 1: positions .* 72 bytes each; found 64",
        ),
        ("UPDATE labels SET forces = substr(forces, 1, 8) WHERE id = 1", "found 72 and 8"),
        ("UPDATE labels SET key = zeroblob(32) WHERE id = 1", "Label 1: its key is not that"),
        ("UPDATE labels SET energy = 9e999 WHERE id = 1", "Label 1: energy or forces are not finite"),
        ("UPDATE labels SET reason = 'bored' WHERE id = 2", "found 'bored'"),
        ("DELETE FROM origins WHERE label = 1", "Label 1 has no origin"),
        ("DELETE FROM labels WHERE id = 1", "origins points to a row of labels that does not exist"),
        ("INSERT INTO theories VALUES (7, 'x')", "Row 7 of theories has no label"),
        ("UPDATE origins SET kind = 'guess' WHERE label = 1", "1 origins are of the unknown kind 'guess'"),
    ],
)
def test_check_names_each_damage(tmp_path, damage, message):
    path = tmp_path / "l"
    with Ledger.open(path) as ledger:
        ledger.add([row(1), row(2, failed="timeout")])
        report = check_ledger(ledger)
        assert (report.labelled, report.failed, report.theories, report.compositions) == (1, 1, 1, 1)
        assert report.sound
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()
    with LedgerReader.open(path) as reader:
        report = check_ledger(reader)
    assert not report.sound
    assert any(re.search(message, problem) for problem in report.problems), report.problems


def test_check_finds_a_damaged_page(tmp_path):
    path = tmp_path / "l"
    with Ledger.open(path) as ledger:
        ledger.add([row(seed) for seed in range(300)])
    content = bytearray(path.read_bytes())
    content[8 * 4096 : 10 * 4096] = os.urandom(2 * 4096)
    path.write_bytes(content)
    with LedgerReader.open(path) as reader:
        assert not check_ledger(reader).sound
