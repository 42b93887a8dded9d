"""The labels of a file: read, label here or over a site, write in the order of the source."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from alflow.errors import InputError
from alflow.execution.graph import TaskGraph
from alflow.execution.sites import find_site, load_site
from alflow.farm.interrupts import saying_what_is_kept
from alflow.farm.partial import FrameLabel, LabelJob, PartialOutput, check_output
from alflow.farm.queue import Chunk, LabelQueue, require_theory
from alflow.labeling import engine_settings
from alflow.labeling.frames import theory_hash
from alflow.runs.events import EventLog
from alflow.structures import Structure, group_rows, read_structures
from alflow.types import Frames, IntArray
from alflow.workers.models import EngineModel
from alflow.workers.reply import LabelReply
from alflow.workers.result import Report
from alflow.workers.tasks import label

CHUNK_SECONDS = 2.0
PROBES = 4
"""Frames of each composition that are labelled one by one before the others are cut into tasks."""


@dataclass(frozen=True)
class LabelSummary:
    """What labelling a file gave."""

    labelled: int
    failures: dict[str, int]
    wall_seconds: float
    label_seconds: float
    """Worker-seconds spent on labels."""
    workers: int
    known: int
    """Frames that an earlier run of the same job had done."""
    computed: int
    """Labels of this run."""

    @property
    def rate(self) -> float:
        """Labels a second in all."""
        return self.computed / self.wall_seconds if self.wall_seconds else 0.0

    @property
    def rate_per_core(self) -> float:
        """Labels a second of worker time."""
        return self.computed / self.label_seconds if self.label_seconds else 0.0


@dataclass(frozen=True)
class Guard:
    """Limits of one label, kept in a child process of its worker."""

    timeout_s: float = 600.0
    """Longest time, s; 0: no child process, and no limits."""
    memory_gb: float | None = None
    """Largest address space, GB."""


@dataclass
class _Work:
    """What is labelled, by what, and what has come."""

    structures: Sequence[Structure]
    model: EngineModel
    partial: PartialOutput
    progress: Callable[[int, int], None]
    spent: float = 0.0
    computed: int = 0
    workers: int = 0

    def groups(self) -> Iterator[tuple[Frames, IntArray]]:
        """Yield the frames that are missing and their rows, composition by composition."""
        missing = [row for row in range(len(self.structures)) if row not in self.partial.labels]
        for composition, places in group_rows([self.structures[row] for row in missing]).items():
            rows = np.array([missing[place] for place in places], dtype=np.int64)
            positions = np.stack([self.structures[row].atoms.positions for row in rows])
            yield Frames(composition, positions), rows

    def take(self, chunk: Chunk[int], reply: LabelReply, report: Report | None) -> None:
        """Keep what came back of a task."""
        del report
        batch, rows = reply.batch, chunk.tags
        labels = {
            rows[row]: FrameLabel(
                float(batch.labels.energies[place]),
                batch.labels.forces[place],
                diagnostics=batch.diagnostics[row] if batch.diagnostics else {},
            )
            for place, row in enumerate(batch.rows.tolist())
        }
        failures = {rows[one.frame]: FrameLabel(None, None, one.reason, one.detail) for one in batch.failures}
        self.partial.add(labels | failures, reply.theory)
        self.computed += len(batch.rows)
        self.spent += float(batch.seconds.sum())
        self.progress(len(self.partial.labels), len(self.structures))


def label_file(
    source: Path,
    target: Path,
    engine: str,
    settings: dict[str, Any],
    *,
    guard: Guard = Guard(),
    site: str | None = None,
    options: dict[str, str] | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    say: Callable[[str], None] = lambda _: None,
) -> LabelSummary:
    """Label every frame of a file, and write extended XYZ in the order of the input.

    A frame that cannot be labelled is written without energy, with `label_failure` and `label_failure_detail` in its
    entries. Labels are kept beside the output as they arrive (`PartialOutput`); what ends the work before its time
    costs none of them, and the next call goes on.

    Args:
        source: structures: see `alflow.structures.read_structures`.
        target: extended XYZ file to write.
        engine: name of the label engine.
        settings: of the engine.
        guard: limits of one label.
        site: site to farm over; None labels in this process.
        options: of the site.
        overwrite: whether `target` may exist, and what is left beside it of another job be replaced.
        progress: called with the frames done and all frames.
        say: called with sentences on what of the source was ignored, or looks doubtful.

    Raises:
        InputError: the file cannot be read or `target` not be written, a frame is no molecule, a setting or option
            breaks a rule.
        CampaignError: the workers differ in their theory, or a task failed for good.
        InterruptedWorkError: Ctrl-C or SIGTERM came.
    """
    if options and site is None:
        raise InputError(
            f"Options are of a site, and none is named to label on; found {', '.join(options)}. Name one with --site."
        )
    check_output(target, overwrite=overwrite)
    found = read_structures(source, finite=False)
    for note in found.notes:
        say(note)
    checked = engine_settings(engine, settings, f"--engine {engine}").model_dump(mode="json")
    model = EngineModel(engine, checked, guard.timeout_s, guard.memory_gb)
    with PartialOutput(target, _job(found.structures, model), overwrite=overwrite) as partial:
        work, known, started = _Work(found.structures, model, partial, progress), len(partial.labels), time.monotonic()
        progress(known, len(found.structures))
        with saying_what_is_kept(partial.kept):
            if site is None:
                _label_here(work)
            elif known < len(found.structures):
                _label_over_site(work, site, options or {})
            wall = time.monotonic() - started
            failures = partial.finish()
    labelled = len(found.structures) - failures.total()
    return LabelSummary(labelled, dict(failures), wall, work.spent, work.workers, known, work.computed)


def _job(structures: Sequence[Structure], model: EngineModel) -> LabelJob:
    calculator = model.settings.get("calculator")
    name = model.engine if calculator is None else f"{model.engine} {calculator}"
    limits = f"{model.timeout_s:g} s, {model.memory_gb or 'any'} GB"
    settings = theory_hash({"engine": model.engine, **model.settings})[:16]
    return LabelJob(structures, name, settings, limits)


def _label_here(work: _Work) -> None:
    """Label in this process: one frame first, then as many at a time as last about `CHUNK_SECONDS`."""
    work.workers, model, theory = 1, work.model, work.partial.theory
    for frames, rows in work.groups():
        first, size = 0, 1
        while first < len(frames):
            chunk = Chunk(frames, tuple(rows.tolist())).part(slice(first, first + size))
            asked = chunk.frames.composition, chunk.frames.positions
            outcome = label(model.engine, model.settings, *asked, model.timeout_s, model.memory_gb)
            reply = LabelReply.unpack(outcome.value)
            require_theory(reply, theory, outcome.report)
            theory = reply.theory
            work.take(chunk, reply, outcome.report)
            first += size
            size = max(1, int(CHUNK_SECONDS / max(float(reply.batch.seconds.mean()), 1e-4)))


def _label_over_site(work: _Work, site: str, options: dict[str, str]) -> None:
    """Label over a site; a few frames of each composition go first, one by one, and time the others."""
    with _graph(site, options) as graph:
        queue = LabelQueue(graph, work.model, work.take, theory=work.partial.theory, task_seconds=CHUNK_SECONDS)
        groups = list(work.groups())
        for frames, rows in groups:
            queue.request(frames.take(slice(PROBES)), rows[:PROBES].tolist(), one_by_one=True)
        graph.run_until(queue.idle)
        work.workers = graph.capacity("cpu")
        for frames, rows in groups:
            queue.request(frames.take(slice(PROBES, None)), rows[PROBES:].tolist())
        graph.run_until(queue.idle)
        work.workers = max(work.workers, graph.capacity("cpu"))


@contextmanager
def _graph(site: str, options: dict[str, str]) -> Iterator[TaskGraph]:
    """Start a site for the time of the block."""
    # here, and not in /tmp: workers on other nodes read their certificates in it
    with TemporaryDirectory(prefix="alflow-label-", dir=Path.cwd(), ignore_cleanup_errors=True) as folder:
        config = load_site(find_site(site), Path(folder), options)
        events = EventLog(Path(folder) / "events.jsonl")
        graph = TaskGraph(config, events)
        try:
            yield graph
        finally:
            graph.close()
            events.close()
