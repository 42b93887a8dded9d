"""Parsl's pool of workers on a node, under a supervisor that starts it anew where it could only stand still.

``python -m alflow.execution.pool ARGUMENTS`` runs Parsl's ``process_worker_pool.py``. Its workers share two queues, a
counter and a dictionary. A worker that is killed while it holds the lock of one of them (an idle worker holds that of
the queue of tasks nearly always), or whose last result was still on its way, or the death of the process that keeps
the dictionary, leaves a pool that sends signs of life and does nothing. Each of these can be seen from inside, and
only after a death, so a pool that is merely slow is never taken for one. What the old pool had in hand counts as lost
with its manager, and Parsl gives it to others.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.util
import os
import pickle
import runpy
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from alflow.files.home import settle_home
from alflow.files.scratch import plain_scratch

PARSL_POOL = "parsl.executors.high_throughput.process_worker_pool"
LOOK_SECONDS = 1.0
MOST_RESTARTS = 20
RESTARTS = "ALFLOW_POOL_RESTARTS"
START_SHARE = 2.0
"""A worker that takes the place of a dead one may take so many times as long to start as the first ones did."""
LONGEST_START_S = 900.0
"""Workers import what they need from a file system that may be slow, but not slower than this."""
END_SECONDS = 5.0


@dataclass
class Supervisor:
    """Follows the tasks through a pool, and says when it cannot go on."""

    manager: Any
    """Parsl's `Manager`."""
    clock: Callable[[], float] = time.monotonic
    received: dict[Any, tuple[int, float]] = field(default_factory=dict)
    """Tasks that have not been answered: their place in the order of arrival, and when they came."""
    arrived: int = 0
    workers: frozenset[int] = frozenset()
    died: float | None = None
    """When a worker was last seen to be gone."""
    patience_s: float | None = None
    """How long nothing may happen that should happen at once; known when the first worker is ready."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _locks_tried: bool = True
    _missing: dict[Any, float] = field(default_factory=dict)
    _idle: tuple[int, float] | None = None

    def follow(self) -> None:
        """Count what comes and goes from now on."""
        scheduler = self.manager.task_scheduler
        put, get = scheduler.put_task, scheduler.get_result

        def put_task(task: Any) -> Any:
            with self._lock:
                self.received[task["task_id"]] = (self.arrived, self.clock())
                self.arrived += 1
            return put(task)

        def get_result(*arguments: Any, **named: Any) -> Any:
            answer = get(*arguments, **named)
            if answer is not None:
                message = pickle.loads(answer)  # noqa: S301 - written by this pool's own workers
                with self._lock:
                    self.received.pop(message.get("task_id"), None)
            return answer

        scheduler.put_task, scheduler.get_result = put_task, get_result

    def look(self) -> str:
        """Return why the pool has to start anew; empty if it need not."""
        if not self.manager._mp_manager._process.is_alive():  # noqa: SLF001 - Parsl has no public way
            return "the process that keeps its table of tasks died"
        self._note_deaths()
        if not self._note_start():
            return f"none of its workers was ready within {LONGEST_START_S:.0f} s"
        if self.died is None or self.patience_s is None or self.manager.enable_mpi_mode:
            return ""  # with MPI, tasks wait outside the queue as well
        return self._dead_lock(self.patience_s) or self._nothing_taken(self.patience_s) or self._lost(self.patience_s)

    def _note_deaths(self) -> None:
        living = frozenset(
            child.pid or 0 for child in multiprocessing.active_children() if child.name.startswith("HTEX-Worker")
        )
        if self.workers - living:
            self.died, self._locks_tried = self.clock(), False
        self.workers = living

    def _note_start(self) -> bool:
        """Set the patience once a worker is ready: the site's limit of silence, and the time of a new worker's start.

        Returns:
            False if none was ready for so long that none will be.
        """
        if self.patience_s is not None:
            return True
        elapsed = time.time() - self.manager.start_time
        if self._started() or self.died is not None:
            start = elapsed if self.died is None else END_SECONDS
            self.patience_s = self.manager.heartbeat_threshold + START_SHARE * start
        return self.patience_s is not None or elapsed < LONGEST_START_S

    def _started(self) -> bool:
        """Say whether a worker is ready or has taken a task; the counter's lock may be dead, and is not used."""
        ready: int = self.manager.ready_worker_count.get_obj().value
        return ready > 0 or self.arrived > self.manager.pending_task_queue.qsize()

    def _dead_lock(self, patience_s: float) -> str:
        """Try, once after each death, the locks that are never held for long."""
        if self._locks_tried:
            return ""
        results = self.manager.pending_result_queue._wlock  # noqa: SLF001 - the standard library has no public way
        for name, lock in (("queue of results", results), ("counter", self.manager.ready_worker_count.get_lock())):
            if not lock.acquire(timeout=patience_s):
                return f"a worker died with the lock of its {name}"
            lock.release()
        self._locks_tried = True
        return ""

    def _nothing_taken(self, patience_s: float) -> str:
        """Find workers that are idle while tasks wait."""
        waiting = self.manager.pending_task_queue.qsize()
        taken = self.arrived - waiting
        if not waiting or len(self._in_progress()) >= self.manager.worker_count:
            self._idle = None
        elif self._idle is None or self._idle[0] != taken:
            self._idle = (taken, self.clock())
        elif self.clock() - self._idle[1] > patience_s:
            return f"{waiting} tasks wait, and its idle workers take none"
        return ""

    def _lost(self, patience_s: float) -> str:
        """Find tasks that were taken before the last death, are in nobody's hands, and have not been answered."""
        assert self.died is not None
        taken = self.arrived - self.manager.pending_task_queue.qsize()
        with self._lock:
            suspects = {task for task, (place, came) in self.received.items() if place < taken and came <= self.died}
        if suspects:
            suspects -= self._in_progress()
        now = self.clock()
        self._missing = {task: self._missing.get(task, now) for task in suspects}
        if any(now - since > patience_s for since in self._missing.values()):
            return "the result of a task was lost with its worker"
        return ""

    def _in_progress(self) -> set[Any]:
        return {request["task_id"] for request in self.manager._tasks_in_progress.values()}  # noqa: SLF001


def main() -> None:
    """Run Parsl's pool in this thread, and the supervisor in another."""
    began = time.time()
    settle_home()
    keep_sockets_in_a_short_folder()
    threading.Thread(target=_supervise, args=(began,), name="supervisor", daemon=True).start()
    runpy.run_module(PARSL_POOL, run_name="__main__", alter_sys=True)


def keep_sockets_in_a_short_folder() -> None:
    """Have this process and its workers make their sockets where a path to one is not too long; TMPDIR stays."""
    before, tempfile.tempdir = tempfile.tempdir, plain_scratch()
    try:
        multiprocessing.util.get_temp_dir()  # made once, and handed to children
    finally:
        tempfile.tempdir = before


def _supervise(began: float) -> None:
    """Look at the pool once a second until it has to start anew."""
    logger = logging.getLogger(PARSL_POOL)
    while (manager := getattr(sys.modules["__main__"], "manager", None)) is None:
        time.sleep(0.05)
    supervisor = Supervisor(manager)
    supervisor.follow()
    reason = ""
    while not reason:
        time.sleep(LOOK_SECONDS)
        try:
            reason = supervisor.look()
        except (EOFError, OSError) as error:  # the table's process died in this very moment
            logger.warning("The supervisor could not look: %s", error)
    logger.critical("This pool starts anew: %s", reason)
    sys.stderr.write(f"Worker pool {manager.uid} starts anew: {reason}.\n")
    sys.stderr.flush()
    start_anew(began)


def start_anew(began: float) -> None:
    """End the workers, and replace this process by a fresh pool; give up after some times."""
    children = multiprocessing.active_children()
    for child in children:
        child.kill()
    for child in children:
        child.join(END_SECONDS)
    restarts = int(os.environ.get(RESTARTS, "0")) + 1
    if restarts > MOST_RESTARTS:
        sys.stderr.write(f"A worker pool may start anew {MOST_RESTARTS} times; this one ends.\n")
        os._exit(1)
    os.environ[RESTARTS] = str(restarts)
    arguments = later_arguments(sys.argv[1:], time.time() - began)
    os.execv(sys.executable, [sys.executable, "-m", "alflow.execution.pool", *arguments])  # noqa: S606 - this very program


def later_arguments(arguments: list[str], elapsed_s: float) -> list[str]:
    """Return the arguments of a pool that starts later in the same block: it has to stop taking tasks sooner."""
    name = "--drain_period="
    return [
        f"{name}{max(1, int(float(argument.removeprefix(name)) - elapsed_s))}"
        if argument.startswith(name) and argument != f"{name}None"
        else argument
        for argument in arguments
    ]


if __name__ == "__main__":
    main()
