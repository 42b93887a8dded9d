"""Labels in a child process: what ends the child ends one label."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from alflow.errors import InputError, LabelError
from alflow.labeling.engines.sleep import SleepEngine, fate_of
from alflow.labeling.frames import label_frames
from alflow.labeling.guard import GuardedEngine
from alflow.labeling.guard.messages import pack_evaluation, pack_request, unpack_evaluation, unpack_request
from alflow.labeling.kinds.sleep import SleepSettings
from alflow.structures import alkane
from alflow.types import Composition, Evaluation, Frames

ETHANE = alkane(2)
NUMBERS = ETHANE.numbers
ALL = {"seconds_per_label": 0.0}


def jittered(count: int, seed: int = 0) -> Frames:
    rng = np.random.default_rng(seed)
    shifts = rng.uniform(-0.05, 0.05, (count, *ETHANE.positions.shape[1:]))
    return Frames.of(NUMBERS, ETHANE.positions[0] + shifts)


def guarded(timeout_s: float = 20.0, memory_limit_gb: float | None = None, **settings: float) -> GuardedEngine:
    return GuardedEngine("sleep", {**ALL, **settings}, timeout_s, memory_limit_gb)


def reason_and_detail(engine: GuardedEngine) -> tuple[str, str]:
    with pytest.raises(LabelError) as caught:
        engine.compute(Composition(NUMBERS), ETHANE.positions[0])
    return caught.value.reason, caught.value.detail


def test_same_bits_and_theory_as_without_guard() -> None:
    plain, guard = SleepEngine(SleepSettings(seconds_per_label=0)), guarded()
    assert guard.theory == plain.theory
    for positions in jittered(5).positions:
        here, there = plain.compute(Composition(NUMBERS), positions), guard.compute(Composition(NUMBERS), positions)
        assert there.energy == here.energy
        assert there.forces.tobytes() == here.forces.tobytes()
        assert (there.start, there.cycles, there.spread) == (None, -1, 0.0)
    guard.close()


def test_start_and_cycles_travel() -> None:
    sent = Evaluation(
        1.5, np.ones((2, 3)), 0.25, np.arange(12.0).reshape(2, 3, 2), 17, {"s_squared": 0.1 + 0.2, "é": 1.0}
    )
    came = unpack_evaluation(pack_evaluation(sent))
    assert (came.energy, came.spread, came.cycles) == (1.5, 0.25, 17)
    assert came.diagnostics == sent.diagnostics
    assert came.start is not None
    assert np.array_equal(came.start, sent.start)
    assert np.array_equal(came.forces, sent.forces)
    asked = Composition(np.array([6, 1]), -1, 3)
    composition, positions, start = unpack_request(pack_request(asked, np.eye(3)[:2], sent.start))
    assert composition == asked
    assert np.array_equal(positions, np.eye(3)[:2])
    assert np.array_equal(start, sent.start)


def test_hang_is_a_timeout_and_the_next_label_arrives() -> None:
    engine = guarded(timeout_s=0.3, hang_share=0.5)
    frames = jittered(8)
    hangs = [fate_of(SleepSettings(hang_share=0.5), positions) == "hang" for positions in frames.positions]
    assert 0 < sum(hangs) < 8
    batch = label_frames(engine, frames)
    assert [failure.frame for failure in batch.failures] == np.flatnonzero(hangs).tolist()
    assert {failure.reason for failure in batch.failures} == {"timeout"}
    assert "0.3 s" in batch.failures[0].detail
    engine.close()


@pytest.mark.parametrize("seed", range(2))
def test_crash_names_the_signal(seed: int) -> None:
    engine = guarded(crash_share=1.0)
    positions = jittered(1, seed).positions[0]
    with pytest.raises(LabelError) as caught:
        engine.compute(Composition(NUMBERS), positions)
    assert caught.value.reason == "engine-crash"
    assert any(name in caught.value.detail for name in ("SIGSEGV", "SIGABRT"))


def test_memory_is_limited() -> None:
    reason, detail = reason_and_detail(guarded(memory_limit_gb=1.2, eat_memory_share=1.0, eat_memory_gb=16.0))
    assert reason == "out-of-memory"
    assert "GB" in detail or "memory" in detail


def test_an_interrupted_label_is_not_taken_for_the_next() -> None:
    guard = guarded(seconds_per_label=0.4)
    first, second = jittered(2).positions
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            guard.compute(Composition(NUMBERS), first)
    finally:
        signal.signal(signal.SIGALRM, before)
    plain = SleepEngine(SleepSettings(seconds_per_label=0))
    assert plain.compute(Composition(NUMBERS), first).energy != plain.compute(Composition(NUMBERS), second).energy
    assert guard.compute(Composition(NUMBERS), second).energy == plain.compute(Composition(NUMBERS), second).energy
    guard.close()


def test_errors_of_the_engine_come_through() -> None:
    assert reason_and_detail(guarded(not_converged_share=1.0))[0] == "not-converged"
    assert reason_and_detail(guarded(error_share=1.0))[0] == "engine-error"
    nan = label_frames(guarded(nan_share=1.0), jittered(1))
    assert nan.failures[0].reason == "not-finite"


def test_what_the_engine_prints_is_no_answer(tmp_path, monkeypatch) -> None:
    (tmp_path / "chatty.py").write_text(
        "import os\n"
        "from ase.calculators.emt import EMT\n"
        "class Chatty(EMT):\n"
        "    def calculate(self, *args, **kwargs):\n"
        "        print('x' * 100_000, flush=True)\n"
        "        os.write(1, b'y' * 100_000)\n"
        "        super().calculate(*args, **kwargs)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    engine = GuardedEngine("ase", {"calculator": "chatty.Chatty"}, 20.0)
    assert np.isfinite(engine.compute(Composition(NUMBERS), ETHANE.positions[0]).energy)
    engine.close()


def test_engine_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(InputError, match=r"no\.such"):
        GuardedEngine("ase", {"calculator": "no.such.Calculator"})
    with pytest.raises(InputError, match="one of"):
        GuardedEngine("nonsense", {})


def test_child_killed_between_two_labels_is_replaced() -> None:
    engine = guarded()
    first = engine.compute(Composition(NUMBERS), ETHANE.positions[0]).energy
    assert engine._child is not None
    os.kill(engine._child.pid, signal.SIGKILL)
    wait_for_end(engine._child.pid)
    assert engine.compute(Composition(NUMBERS), ETHANE.positions[0]).energy == first
    engine.close()


def test_child_dies_with_its_parent() -> None:
    code = (
        "import os, signal\n"
        "from alflow.labeling.guard import GuardedEngine\n"
        "engine = GuardedEngine('sleep', {'seconds_per_label': 0.0})\n"
        "print(engine._child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    wait_for_end(int(done.stdout))


def test_no_child_is_left_when_the_engine_is_forgotten() -> None:
    engine = guarded()
    assert engine._child is not None
    pid = engine._child.pid
    del engine
    wait_for_end(pid)


def test_interpreter_behind_the_child_may_die_too() -> None:
    engine = guarded()
    assert engine._fork_server is not None
    assert engine._child is not None
    engine._fork_server._process.kill()
    wait_for_end(engine._child.pid)
    assert np.isfinite(engine.compute(Composition(NUMBERS), ETHANE.positions[0]).energy)


def test_children_after_a_crash_come_from_the_same_interpreter() -> None:
    engine, positions = guarded(crash_share=1.0), jittered(20).positions
    first = engine._fork_server
    for structure in positions:
        with pytest.raises(LabelError, match="engine-crash"):
            engine.compute(Composition(NUMBERS), structure)
    assert engine._fork_server is first


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline and _alive(pid):
        time.sleep(0.01)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
