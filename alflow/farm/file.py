"""Label the frames of a file: read, group by composition and charge, label here or over a site, write in order."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from alflow.config.campaign import ENGINE_SETTINGS
from alflow.config.load import validate
from alflow.errors import CampaignError, ConfigError, FailureReason, InputError
from alflow.execution.graph import TaskGraph, WorkerGoneError
from alflow.execution.sites import find_site, load_site
from alflow.farm.chunks import chunk_sizes, parts_of_lost
from alflow.run.events import EventLog
from alflow.types import Dataset, Frames, Group, Labels
from alflow.workers.result import Outcome, Report
from alflow.workers.tasks import LABEL, label

CHUNK_SECONDS = 2.0
FIRST_GUESS_LABEL_SECONDS = 0.01
PROBES = 4
"""Frames of each composition that are labelled before the others are cut into tasks."""


@dataclass(frozen=True)
class LabelSummary:
    """What labelling a file gave."""

    labelled: int
    failures: dict[str, int]
    wall_seconds: float
    label_seconds: float
    """Worker-seconds spent on labels."""
    workers: int

    @property
    def rate(self) -> float:
        """Labels a second in all."""
        return self.labelled / self.wall_seconds if self.wall_seconds else 0.0

    @property
    def rate_per_core(self) -> float:
        """Labels a second of worker time."""
        return self.labelled / self.label_seconds if self.label_seconds else 0.0


@dataclass(frozen=True)
class Guard:
    """Limits of one label, kept in a child process of its worker."""

    timeout_s: float = 600.0
    """Longest time, s; 0: no child process, and no limits."""
    memory_gb: float | None = None
    """Largest address space, GB."""


@dataclass(frozen=True)
class _Engine:
    """What labels: an engine, its settings as plain data, its limits."""

    name: str
    settings: dict[str, Any]
    guard: Guard


@dataclass(frozen=True)
class _Chunk:
    rows: list[int]
    numbers: tuple[int, ...]
    charge: int

    def part(self, rows: slice) -> _Chunk:
        return _Chunk(self.rows[rows], self.numbers, self.charge)


Result = tuple[_Chunk, Outcome[dict[str, Any]]]


def label_file(
    source: Path,
    target: Path,
    engine: str,
    settings: dict[str, Any],
    *,
    guard: Guard = Guard(),
    site: str | None = None,
    options: dict[str, str] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> LabelSummary:
    """Label every frame of a file that ASE reads, and write extended XYZ in the order of the input.

    A frame's total charge is read from `info["charge"]` (0 if absent). A frame that cannot be labelled is written
    without energy, with `label_failure` and `label_failure_detail` in its `info`. Where an error ends it, the labels
    that had arrived are written all the same.

    Args:
        source: structures.
        target: extended XYZ file to write.
        engine: name of the label engine.
        settings: of the engine.
        guard: limits of one label.
        site: site to farm over; None labels in this process.
        options: of the site.
        progress: called with the frames done and all frames.

    Raises:
        InputError: the file cannot be read or `target` not be written, a frame is periodic, a setting or option breaks
            a rule.
        CampaignError: the workers differ in their theory, or a task failed for good.
    """
    images = read_images(source)
    _check_writable(target)
    checked = validate(ENGINE_SETTINGS[_known(engine)], settings, f"--engine {engine}")
    chosen = _Engine(engine, checked.model_dump(mode="json"), guard)
    started = time.monotonic()
    outcomes: list[Result] = []
    done = 0
    workers = 1
    run = _here if site is None else _over_site(site, options or {})
    try:
        for chunk, outcome, workers in run(images, chosen):  # noqa: B007 - the last one counts
            _check_theory(outcome, outcomes)
            outcomes.append((chunk, outcome))
            done += len(chunk.rows)
            progress(done, len(images))
    except BaseException:
        if outcomes:
            _write(images, outcomes, target)
        raise
    failures = _write(images, outcomes, target)
    spent = sum(outcome.value["seconds"].sum() for _, outcome in outcomes)
    labelled = len(images) - sum(failures.values())
    return LabelSummary(labelled, dict(failures), time.monotonic() - started, float(spent), workers)


def read_images(source: Path) -> list[Atoms]:
    """Read all frames of a file.

    Raises:
        InputError: it cannot be read, is empty, or a frame is periodic.
    """
    try:
        images = ase.io.read(source, ":")
    except Exception as error:
        raise InputError(f"Structures must be in a file that ASE reads; {source} is not: {error}.") from error
    if not images:
        raise InputError(f"A file of structures must hold at least one; {source} holds none.")
    for place, image in enumerate(images):
        if image.pbc.any():
            raise InputError(f"Structures must be molecules; frame {place} of {source} has a periodic cell.")
        charge = image.info.get("charge", 0)
        if not float(charge).is_integer():
            raise InputError(f"A charge must be a whole number; frame {place} of {source} has {charge}.")
    return list(images)


def _check_writable(target: Path) -> None:
    """Raise an InputError for a target that labels could not be written to, before any is paid for."""
    if target.is_dir():
        raise InputError(f"Labels are written to a file; {target} is a folder.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _part(target).touch()
        _part(target).unlink()
    except OSError as error:
        raise InputError(f"Labels must be written somewhere; {target} cannot be: {error.strerror}.") from error


def _check_theory(outcome: Outcome[dict[str, Any]], earlier: Sequence[Result]) -> None:
    """Raise a CampaignError for labels of another theory: a worker of another version, or with other parameters."""
    theory = outcome.value.get("theory")
    other = next((found for _, result in earlier if (found := result.value.get("theory"))), theory)
    if theory is not None and theory != other:
        raise CampaignError(
            f"Labels of two theories do not mix; those of {outcome.report.host} are of {theory!r}, those before of "
            f"{other!r}. `alflow site check` tells which versions differ."
        )


def _part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _known(engine: str) -> str:
    if engine not in ENGINE_SETTINGS:
        raise ConfigError(f"--engine: an engine is one of {', '.join(ENGINE_SETTINGS)}; found {engine!r}.")
    return engine


def _groups(images: Sequence[Atoms]) -> list[_Chunk]:
    rows: dict[tuple[tuple[int, ...], int], list[int]] = defaultdict(list)
    for row, image in enumerate(images):
        rows[tuple(image.numbers.tolist()), int(image.info.get("charge", 0))].append(row)
    return [_Chunk(found, numbers, charge) for (numbers, charge), found in rows.items()]


def _cut(group: _Chunk, workers: int, label_seconds: float) -> Iterator[_Chunk]:
    first = 0
    for size in chunk_sizes(len(group.rows), workers, label_seconds, CHUNK_SECONDS):
        yield _Chunk(group.rows[first : first + size], group.numbers, group.charge)
        first += size


def _arguments(images: Sequence[Atoms], chunk: _Chunk, engine: _Engine) -> tuple[Any, ...]:
    positions = np.stack([images[row].positions for row in chunk.rows])
    guard = engine.guard
    return engine.name, engine.settings, chunk.numbers, positions, chunk.charge, guard.timeout_s, guard.memory_gb


def _here(images: Sequence[Atoms], engine: _Engine) -> Iterator[tuple[_Chunk, Outcome[dict[str, Any]], int]]:
    for group in _groups(images):
        for chunk in _cut(group, 8, FIRST_GUESS_LABEL_SECONDS):
            yield chunk, label(*_arguments(images, chunk, engine)), 1


def _over_site(
    site: str, options: dict[str, str]
) -> Callable[[Sequence[Atoms], _Engine], Iterator[tuple[_Chunk, Outcome[dict[str, Any]], int]]]:
    def run(images: Sequence[Atoms], engine: _Engine) -> Iterator[tuple[_Chunk, Outcome[dict[str, Any]], int]]:
        # here, and not in /tmp: workers on other nodes read their certificates in it
        with TemporaryDirectory(prefix="alflow-label-", dir=Path.cwd(), ignore_cleanup_errors=True) as folder:
            config = load_site(find_site(site), Path(folder), options)
            events = EventLog(Path(folder) / "events.jsonl")
            graph = TaskGraph(config, events)
            try:
                yield from _Farm(graph, images, engine).run()
            finally:
                graph.close()
                events.close()

    return run


@dataclass
class _Farm:
    """Submits all frames, and yields what comes back as it comes.

    A few frames of each composition go first, one by one: from the time of their labels the others are cut into tasks.
    """

    graph: TaskGraph
    images: Sequence[Atoms]
    engine: _Engine
    open_chunks: int = 0
    arrived: list[Result | BaseException] = field(default_factory=list)
    seconds: dict[tuple[tuple[int, ...], int], list[float]] = field(default_factory=lambda: defaultdict(list))

    def run(self) -> Iterator[tuple[_Chunk, Outcome[dict[str, Any]], int]]:
        groups = _groups(self.images)
        for group in groups:
            for row in range(min(PROBES, len(group.rows))):
                self._submit(group.part(slice(row, row + 1)))
        yield from self._results()
        for group in groups:
            took = [value for value in self.seconds[group.numbers, group.charge] if value > 0.0]
            seconds = float(np.mean(took)) if took else FIRST_GUESS_LABEL_SECONDS
            for chunk in _cut(group.part(slice(PROBES, None)), self.graph.capacity("cpu"), seconds):
                self._submit(chunk)
        yield from self._results()

    def _results(self) -> Iterator[tuple[_Chunk, Outcome[dict[str, Any]], int]]:
        """Yield what comes back until nothing is open."""
        while self.open_chunks or self.arrived:
            self.graph.run_until(lambda: bool(self.arrived))
            arrived, self.arrived = self.arrived, []
            for result in arrived:
                if isinstance(result, BaseException):
                    raise CampaignError(f"A label task failed: {type(result).__name__}: {result}") from result
                chunk, outcome = result
                self.seconds[chunk.numbers, chunk.charge].extend(outcome.value["seconds"])
                yield chunk, outcome, self.graph.capacity("cpu")

    def _submit(self, chunk: _Chunk, attempt: int = 1) -> None:
        def handle(result: Outcome[dict[str, Any]] | BaseException) -> None:
            self.open_chunks -= 1
            if isinstance(result, WorkerGoneError):
                self._isolate(chunk, attempt, result)
            else:
                self.arrived.append((chunk, result) if isinstance(result, Outcome) else result)

        arguments = _arguments(self.images, chunk, self.engine)
        self.graph.submit(LABEL(*arguments), handle, frames=len(chunk.rows))
        self.open_chunks += 1

    def _isolate(self, chunk: _Chunk, attempt: int, error: WorkerGoneError) -> None:
        """Try the frames of a lost task once more, then one by one; give up the one that loses its worker again."""
        parts = parts_of_lost(len(chunk.rows), attempt)
        for part in parts:
            self._submit(chunk.part(part), attempt=2)
        if not parts:
            self.arrived.append((chunk, given_up("engine-crash", str(error))))


def given_up(reason: FailureReason, detail: str) -> Outcome[dict[str, Any]]:
    """Return the outcome of a task whose only frame has no label."""
    now, host = time.time(), socket.gethostname()
    value = {
        "rows": np.empty(0, dtype=np.int64),
        "energies": np.empty(0),
        "forces": np.empty((0, 0, 3)),
        "failures": [(0, reason, detail, host)],
        "seconds": np.zeros(1),
    }
    return Outcome(value, Report(host, os.getpid(), now, now))


def _write(images: Sequence[Atoms], outcomes: Sequence[Result], target: Path) -> Counter[str]:
    failures: Counter[str] = Counter()
    labelled = [Atoms(image.numbers, image.positions, info=dict(image.info)) for image in images]
    for chunk, outcome in outcomes:
        value = outcome.value
        for place, row in enumerate(value["rows"]):
            image = labelled[chunk.rows[row]]
            image.info = {key: kept for key, kept in image.info.items() if not key.startswith("label_failure")}
            results = {"energy": float(value["energies"][place]), "forces": value["forces"][place]}
            image.calc = SinglePointCalculator(image, **results)
        for row, reason, detail, _ in value["failures"]:
            labelled[chunk.rows[row]].info |= {"label_failure": reason, "label_failure_detail": detail}
            failures[reason] += 1
    temporary = _part(target)
    ase.io.write(temporary, labelled, format="extxyz")
    temporary.replace(target)
    return failures


def read_labelled(source: Path) -> Dataset:
    """Read labelled frames, grouped by composition and charge; frames without a label are left out.

    Raises:
        InputError: the file cannot be read, or no frame has energy and forces.
    """
    images = [image for image in read_images(source) if _has_label(image)]
    if not images:
        raise InputError(f"Labelled frames must have energy and forces; no frame of {source} has both.")
    groups = []
    for group in _groups(images):
        chosen = [images[row] for row in group.rows]
        frames = Frames(np.array(group.numbers), np.stack([image.positions for image in chosen]), group.charge)
        energies = np.array([image.get_potential_energy() for image in chosen])
        forces = np.stack([image.get_forces(apply_constraint=False) for image in chosen])
        groups.append(Group(frames, Labels(energies, forces)))
    return Dataset(tuple(groups))


def _has_label(image: Atoms) -> bool:
    return image.calc is not None and {"energy", "forces"} <= image.calc.results.keys()
