"""A run has one driver, on file systems with and without locks, and whatever the clocks say."""

import contextlib
import errno
import fcntl
import json
import multiprocessing as mp
import os
import re
import socket
import subprocess
import sys
import time

import pytest
from lockholders import hold, race
from nolocks import without_locks
from tinycampaign import TINY

from alflow.errors import RunError
from alflow.runs import lock as runlock
from alflow.runs.lock import RunLock, boot, runs, started

NO_LOCKS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(runlock, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(runlock, "WATCH_SECONDS", 1.0)
    monkeypatch.setattr(runlock, "LOOK_SECONDS", 0.1)


@pytest.fixture
def no_locks(monkeypatch, request):
    """Let the system say that there are no locks."""
    number = getattr(request, "param", errno.ENOLCK)

    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


@contextlib.contextmanager
def holder(path, *, locks=True):
    """Hold the lock in another process."""
    context = mp.get_context("spawn")
    ready, release = context.Event(), context.Event()
    process = context.Process(target=hold, args=(path, ready, release, locks))
    process.start()
    try:
        assert ready.wait(60)
        yield process
    finally:
        if process.is_alive():  # setting it waits for those who wait for it
            release.set()
        process.join(30)


def test_a_second_driver_is_told_who_holds_the_run(tmp_path):
    with (
        holder(tmp_path) as other,
        pytest.raises(RunError, match=rf"A run has one driver; .* is driven by process {other.pid} on "),
        RunLock(tmp_path),
    ):
        pass
    with RunLock(tmp_path):
        pass


def test_a_lock_of_a_driver_that_was_killed_is_free_at_once(tmp_path, monkeypatch):
    with holder(tmp_path) as other:
        other.kill()
        other.join()
        monkeypatch.setattr(runlock, "WATCH_SECONDS", 1e9)
        with RunLock(tmp_path):
            pass


@pytest.mark.parametrize("number", NO_LOCKS)
def test_outsider_no_locks_is_not_another_driver(tmp_path, monkeypatch, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    said = []
    with RunLock(tmp_path / "new", said.append):
        assert (tmp_path / "new" / "lock.held").exists()
    assert not (tmp_path / "new" / "lock.held").exists()
    assert re.match("The file system of .* carries no locks", said[0])


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES])
def test_a_lock_that_another_has_is_another_driver(tmp_path, monkeypatch, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(RunError, match="driven by an unknown process"), RunLock(tmp_path):
        pass


def test_outsider_without_locks_a_second_driver_is_refused_and_a_dead_one_is_not_waited_for(tmp_path, no_locks):
    with holder(tmp_path, locks=False) as other:
        with pytest.raises(RunError, match=f"driven by process {other.pid} on "), RunLock(tmp_path):
            pass
        other.kill()
        other.join()
        assert (tmp_path / "lock.held").exists()
        said = []
        with RunLock(tmp_path, said.append):
            pass
        assert "looking for signs of its life" in said[1]
    assert not (tmp_path / "lock.held").exists()


@pytest.mark.parametrize("left", ["", '{"host": "gone", "pid": 3}', None])
def test_outsider_of_many_that_start_at_once_without_locks_one_drives(tmp_path, left):
    if left is not None:
        (tmp_path / "lock.held").write_text(left)
    context = mp.get_context("spawn")
    results, start = context.Queue(), context.Event()
    processes = [context.Process(target=race, args=(tmp_path, results, start)) for _ in range(5)]
    for process in processes:
        process.start()
    time.sleep(1.0)
    start.set()
    found = [results.get(timeout=90) for _ in processes]
    for process in processes:
        process.join(30)
    assert found.count("held") == 1
    assert found.count("held") + found.count("refused") + found.count("lost") == 5


def test_a_lock_file_that_another_took_is_lost(tmp_path, no_locks):
    with RunLock(tmp_path) as lock:
        (tmp_path / "lock.held").rename(tmp_path / "stolen")
        (tmp_path / "lock.held").write_text("{}")
        time.sleep(0.5)
        assert lock.lost
    assert (tmp_path / "lock.held").read_text() == "{}"


def leave(folder, *, host="another-node", status_age=None):
    """Leave the lock of a driver on another host, and its status of some age, s; negative: of the future."""
    (folder / "lock").write_text(json.dumps({"host": host, "pid": 17, "since": 0}))
    if status_age is not None:
        (folder / "status.json").write_text("{}")
        moment = time.time() - status_age
        os.utime(folder / "status.json", (moment, moment))


def test_a_lock_of_a_live_driver_on_another_host_is_respected(tmp_path):
    leave(tmp_path, status_age=0)
    with pytest.raises(RunError, match=r"process 17 on another-node, .* try again in \d+ s"), RunLock(tmp_path):
        pass


@pytest.mark.parametrize("age", [None, 61, 1e6, -5, -30, -3600, -1e7])
def test_outsider_a_status_of_any_date_does_not_block_a_run(tmp_path, age):
    leave(tmp_path, status_age=age)
    said = []
    with RunLock(tmp_path, said.append):
        pass
    assert "looking for signs of its life" in said[0]


@pytest.mark.parametrize("age", [3600.0, -3600.0])
@pytest.mark.parametrize("file", ["status.json", "lock"])
def test_outsider_a_living_driver_with_a_wrong_clock_is_found(tmp_path, age, file, monkeypatch):
    monkeypatch.setattr(runlock, "WATCH_SECONDS", 20.0)
    leave(tmp_path, status_age=age)
    code = (
        "import os, sys, time\n"
        "name, age = sys.argv[1], float(sys.argv[2])\n"
        "status = os.path.join(os.path.dirname(name), 'status.json')\n"
        "for beat in range(300):\n"
        '    text = \'{"host": "another-node", "pid": 17, "beats": "%03d"}\' % beat\n'
        "    with open(name, 'r+') as file: file.write(text)\n"
        "    os.utime(status, (time.time() - age,) * 2)\n"
        "    time.sleep(0.2)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / file), str(age)])
    try:
        with pytest.raises(RunError, match="process 17 on another-node, which writes signs of life"), RunLock(tmp_path):
            pass
    finally:
        writer.kill()
        writer.wait()


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\x00\xff", '{"host": 3}', '{"pid": "x"}', "x" * 10_000])
@pytest.mark.parametrize("locks", [True, False])
def test_outsider_a_damaged_lock_is_taken_over(tmp_path, content, locks, monkeypatch):
    (tmp_path / ("lock" if locks else "lock.held")).write_bytes(content.encode("latin-1"))
    if not locks:

        def flock(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", flock)
    with RunLock(tmp_path):
        pass


def test_a_number_of_a_process_that_is_another_one_by_now_is_no_holder():
    me = {"pid": os.getpid(), "started": started(os.getpid())}
    assert runs(me)
    assert not runs(me | {"started": "1"})
    assert not runs({"pid": 2**22 + 1})
    assert not runs({"pid": "x"})
    assert boot()


def test_the_lock_names_its_holder(tmp_path):
    with RunLock(tmp_path):
        time.sleep(0.3)
        found = json.loads((tmp_path / "lock").read_text())
        assert (found["host"], found["pid"]) == (socket.gethostname(), os.getpid())
        assert int(found["beats"]) > 1
    assert (tmp_path / "lock").read_text() == ""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [errno.ENOLCK, pytest.param(errno.ENOSYS, marks=pytest.mark.long)])
def test_outsider_a_campaign_on_a_file_system_without_locks(tmp_path, number):
    """The whole of it, SQLite's locks included, by a library that refuses them; then on one with locks, and back."""
    (tmp_path / "build").mkdir()
    project = tmp_path / "project"
    project.mkdir()
    (project / "tiny.toml").write_text(TINY)
    refusing = os.environ | without_locks(tmp_path / "build", project, number)

    def alflow(*words, environment=refusing):
        command = [sys.executable, "-c", "from alflow.cli import main; main()", *words]
        return subprocess.run(command, cwd=project, capture_output=True, text=True, env=environment, check=False)

    def run(iterations, environment):
        words = ("run", "tiny.toml", "-O", "kind=threads", "--set", f"iterations={iterations}")
        done = alflow(*words, environment=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "carries no locks" in " ".join(run(1, refusing).split())
    for environment in (refusing, os.environ):
        done = alflow("ledger", "check", "runs/tiny", environment=environment)
        assert done.returncode == 0, done.stderr
        assert "The ledger is sound" in done.stdout
    (project / "runs" / "tiny" / "ledger.sqlite.lock").mkdir()  # of a process that was killed
    run(2, refusing)
    assert not (project / "runs" / "tiny" / "ledger.sqlite.lock").exists()
    run(2, os.environ)
    done = alflow("ledger", "export", "runs/tiny", "labels.xyz")
    assert done.returncode == 0, done.stderr
