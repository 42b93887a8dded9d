"""Watches over executors for what Parsl itself does not notice.

An interchange that dies leaves its tasks waiting for ever, and so does a command sent to it; a pool of workers that
gives wrong numbers goes on getting tasks; a block all of whose workers are gone may count as running. This module
knows the executors only by the few attributes that it reads.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from alflow.errors import CampaignError, CanaryError

LOOK_SECONDS = 1.0
SILENT_SECONDS = 120.0
"""An interchange that does not answer for so long is taken for dead."""
EMPTY_BLOCK_SECONDS = 180.0
"""A block that had workers and has none for so long is given back, so that the provider may get another one."""
UNFIT_SECONDS = 30.0
"""An executor all of whose workers are unfit, and that waits for no block, is given up after so long."""
CLOSE_SECONDS = 60.0
CLOSE_BROKEN_SECONDS = 10.0
"""With a dead interchange Parsl's own end would wait for ever; it gets this long."""


@dataclass
class _Seen:
    """What the last look at an executor found."""

    managers: list[dict[str, Any]] = field(default_factory=list)
    asked: float = 0.0
    """When the question was asked that was answered last."""
    answered: float = field(default_factory=time.monotonic)
    workers: int = 0
    empty_since: dict[str, float] = field(default_factory=dict)
    """Blocks that had workers and have none, and since when."""
    unfit_since: float | None = None
    held: dict[str, float] = field(default_factory=dict)
    """Idle blocks that get no more tasks, and since when."""
    populated: set[str] = field(default_factory=set)
    jobs: set[str] = field(default_factory=set)


class ExecutorMonitor:
    """Looks at the executors once a second in a thread of its own: asking a dead interchange never ends."""

    def __init__(
        self,
        executors: Mapping[str, Any],
        log: Callable[..., None] = lambda *_, **__: None,
        say: Callable[[str], None] = lambda _: None,
        idle_limit_s: float | None = None,
    ) -> None:
        """Start watching.

        Args:
            executors: Parsl's executors by label; those without an interchange are only counted.
            log: writes an event: what, and fields.
            say: shows a sentence to the user.
            idle_limit_s: a block of a batch system that has had nothing to do for so long, while others of its
                executor have, is given back; None: never.
        """
        self._executors = executors
        self._log, self._say = log, say
        self._idle_limit_s = idle_limit_s
        self._seen = {label: _Seen() for label in executors}
        self._held: dict[str, dict[str, str]] = {label: {} for label in executors}
        self._broken: set[str] = set()
        self._warned: set[tuple[str, str]] = set()
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._look, args=(label,), name=f"watch-{label}", daemon=True)
            for label, executor in executors.items()
            if has_interchange(executor)
        ]
        for thread in self._threads:
            thread.start()

    def workers(self, label: str) -> int:
        """Return how many workers were connected and fit for work at the last look."""
        executor = self._executors[label]
        if not has_interchange(executor):
            return int(getattr(executor, "max_threads", 1))
        return sum(int(manager["worker_count"]) for manager in self._seen[label].managers if manager["active"])

    def slots(self, label: str) -> int:
        """Return the workers of all blocks that run or wait, and of one more if the executor may have it."""
        executor = self._executors[label]
        if not has_interchange(executor):
            return self.workers(label)
        provider = executor.provider
        blocks = sum(not status.terminal for status in dict(executor.status_facade).values())
        each = int(getattr(executor, "workers_per_node", 1)) * int(getattr(provider, "nodes_per_block", 1) or 1)
        return each * min(blocks + 1, int(getattr(provider, "max_blocks", 1) or 1))

    def check(self) -> None:
        """Say what changed, and raise what cannot be healed.

        Raises:
            CampaignError: an executor is in a bad state for good, its interchange died or is silent, or all of its
                workers were found unfit.
        """
        for label, executor in self._executors.items():
            if has_interchange(executor):
                self._note_jobs(label, executor)
                self._check_interchange(label, executor)
                self._check_fit(label, executor)
                self._give_back_empty_blocks(label, executor)
                self._give_back_idle_blocks(label, executor)
            self._note_workers(label)

    def take_out(self, label: str, error: CanaryError) -> None:
        """Give no more tasks to the pool of workers that failed its canary."""
        if error.pool and error.pool not in self._held[label]:
            self._held[label][error.pool] = str(error)
            self._executors[label]._hold_manager(error.pool)  # noqa: SLF001 - Parsl has no public way
            self._log("canary", executor=label, pool=error.pool, message=str(error))
            self._say(f"{error} Its pool of workers gets no more tasks.")

    def note_duration(self, label: str, what: str, seconds: float) -> None:
        """Say, once a kind of task, that it is longer than blocks live after they stop taking tasks."""
        margin = drain_margin_s(self._executors[label])
        if margin is not None and seconds > margin and (label, what) not in self._warned:
            self._warned.add((label, what))
            message = (
                f"A task should fit into the {margin:.0f} s between the end of a block's tasks and its walltime; a "
                f"{what} task took {seconds:.0f} s on {label!r} and may be cut off and run again. Give the site a "
                "larger drain_minutes, or the campaign smaller segments, tasks or members_per_task."
            )
            self._log("walltime", executor=label, message=message)
            self._say(message)

    def close(self, cleanup: Callable[[], None]) -> None:
        """End all executors in bounded time; where Parsl's own end hangs, give blocks and processes back directly."""
        self._stopped.set()
        self._broken |= {label for label, executor in self._executors.items() if has_dead_interchange(executor)}
        broken = [self._executors[label] for label in self._broken]
        for executor in self._executors.values():
            if executor in broken or (has_interchange(executor) and executor.bad_state_is_set):
                give_back(executor, executor.blocks_to_job_id)  # Parsl leaves those of an executor in a bad state
        for executor in broken:
            executor.set_bad_state_and_fail_all(CampaignError("its interchange died"))
        thread = threading.Thread(target=cleanup, name="close", daemon=True)
        thread.start()
        thread.join(CLOSE_BROKEN_SECONDS if broken else CLOSE_SECONDS)
        if thread.is_alive():
            for executor in self._executors.values():
                if has_interchange(executor):
                    give_back(executor, executor.blocks_to_job_id)
                    if executor.interchange_proc is not None:
                        executor.interchange_proc.kill()

    def _look(self, label: str) -> None:
        executor, seen = self._executors[label], self._seen[label]
        while not self._stopped.wait(LOOK_SECONDS):
            with contextlib.suppress(Exception):  # an executor that is being closed; silence is judged by `check`
                asked = time.monotonic()
                seen.managers = list(executor.connected_managers())
                seen.asked, seen.answered = asked, time.monotonic()

    def _check_interchange(self, label: str, executor: Any) -> None:
        if executor.bad_state_is_set:
            raise CampaignError(f"The executor {label!r} cannot run tasks any more: {executor.executor_exception}")
        silent = time.monotonic() - self._seen[label].answered
        reader = getattr(executor, "_result_queue_thread", None)
        if reader is not None and not reader.is_alive():
            raise CampaignError(
                f"The executor {label!r} reads no results any more: the thread that does it ended. Nothing that was "
                "committed is lost: run the same command again."
            )
        if has_dead_interchange(executor):
            found = f"died (exit code {executor.interchange_proc.poll()})"
        elif silent > SILENT_SECONDS:
            found = f"has not answered for {silent:.0f} s"
        else:
            return
        self._broken.add(label)
        raise CampaignError(
            f"The interchange of executor {label!r} {found}; its tasks are lost. Nothing that was committed is: run "
            "the same command again."
        )

    def _check_fit(self, label: str, executor: Any) -> None:
        """Raise a CampaignError if all pools of an executor were taken out, and no other block is on its way."""
        seen, held = self._seen[label], self._held[label]
        if not seen.managers or any(manager["manager"] not in held for manager in seen.managers):
            seen.unfit_since = None
            return
        seen.unfit_since = seen.unfit_since or time.monotonic()
        connected = {str(manager["block_id"]) for manager in seen.managers}
        waiting = [block for block, status in dict(executor.status_facade).items() if not status.terminal]
        if set(waiting) <= connected and time.monotonic() - seen.unfit_since > UNFIT_SECONDS:
            raise CampaignError(f"No worker of executor {label!r} is fit for work. {next(iter(held.values()))}")

    def _give_back_empty_blocks(self, label: str, executor: Any) -> None:
        """Cancel blocks that count as running and whose workers have all been gone for long."""
        seen, now = self._seen[label], time.monotonic()
        populated = {str(manager["block_id"]) for manager in seen.managers}
        seen.populated |= populated
        for block in seen.populated - populated:
            if block in executor.status_facade and executor.status_facade[block].terminal:
                seen.empty_since.pop(block, None)
                continue
            since = seen.empty_since.setdefault(block, now)
            if now - since > EMPTY_BLOCK_SECONDS:
                seen.populated.discard(block)
                message = (
                    f"Block {block} of executor {label!r} has had no workers for {now - since:.0f} s; it is given back."
                )
                self._log("block", executor=label, block=block, message=message)
                self._say(message)
                give_back(executor, [block])
        for block in populated & seen.empty_since.keys():
            del seen.empty_since[block]

    def _give_back_idle_blocks(self, label: str, executor: Any) -> None:
        """Cancel blocks that are idle while others work: Parsl gives none back before all tasks are done.

        A block is first held, so that it gets no task, and given back if a later look still finds none in it.
        """
        seen, provider = self._seen[label], executor.provider
        if self._idle_limit_s is None or not hasattr(provider, "walltime"):
            return
        blocks: dict[str, list[dict[str, Any]]] = {}
        for manager in seen.managers:
            blocks.setdefault(str(manager["block_id"]), []).append(manager)
        idle = [
            block
            for block, managers in blocks.items()
            if all(not each["tasks"] and each["idle_duration"] > self._idle_limit_s for each in managers)
        ]
        if len(idle) == len(blocks):
            return  # Parsl does it
        for block in idle[: max(0, len(blocks) - provider.min_blocks)]:
            if block not in seen.held:
                seen.held[block] = time.monotonic()
                for manager in blocks[block]:
                    executor._hold_manager(manager["manager"])  # noqa: SLF001 - Parsl has no public way
            elif seen.asked > seen.held[block]:
                message = f"Block {block} of executor {label!r} has nothing to do; it is given back."
                self._log("block", executor=label, block=block, message=message)
                self._say(message)
                seen.populated.discard(block)
                give_back(executor, [block])
                seen.held[block] = math.inf

    def _note_jobs(self, label: str, executor: Any) -> None:
        """Write down the jobs of the blocks: the next driver ends those that a killed one left."""
        for block, job in dict(executor.blocks_to_job_id).items():
            if str(job) not in self._seen[label].jobs:
                self._seen[label].jobs.add(str(job))
                self._log("job", executor=label, block=str(block), job=str(job))

    def _note_workers(self, label: str) -> None:
        now, seen = self.workers(label), self._seen[label]
        if now == seen.workers:
            return
        self._log("workers", executor=label, workers=now, before=seen.workers)
        if now < seen.workers:
            self._say(f"Executor {label!r} has {now} workers, {seen.workers} before; tasks of the lost ones run again.")
        seen.workers = now


def has_interchange(executor: Any) -> bool:
    """Say whether an executor talks to its workers through a process that can die."""
    return hasattr(executor, "connected_managers") and hasattr(executor, "interchange_proc")


def has_dead_interchange(executor: Any) -> bool:
    """Say whether an executor's interchange ran and has ended."""
    process = executor.interchange_proc if has_interchange(executor) else None
    return process is not None and process.poll() is not None


def drain_margin_s(executor: Any) -> float | None:
    """Return the seconds from the moment a block takes no more tasks to its walltime; None where it has none."""
    drain, walltime = (
        getattr(executor, "drain_period", None),
        getattr(getattr(executor, "provider", None), "walltime", None),
    )
    if drain is None or walltime is None:
        return None
    return walltime_s(str(walltime)) - float(drain)


def walltime_s(text: str) -> float:
    """Read a walltime as batch systems write it, HH:MM:SS or D-HH:MM:SS, s.

    Raises:
        ValueError: it is written otherwise.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", text)
    if found is None:
        raise ValueError(f"a walltime reads HH:MM:SS or D-HH:MM:SS; got {text!r}")
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 86400.0 * days + 3600.0 * hours + 60.0 * minutes + seconds


def give_back(executor: Any, blocks: Iterable[str]) -> None:
    """Cancel the jobs of blocks; what the scheduler answers does not matter any more."""
    jobs = [executor.blocks_to_job_id[block] for block in blocks if block in executor.blocks_to_job_id]
    if jobs:
        with contextlib.suppress(Exception):
            executor.provider.cancel(jobs)
