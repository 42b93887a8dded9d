"""Label the frames of a file: read, group by composition and charge, label here or over a site, write in order."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from alflow.chunking import chunk_sizes
from alflow.config.campaign import ENGINE_SETTINGS
from alflow.config.load import validate
from alflow.errors import CampaignError, ConfigError, InputError
from alflow.events import EventLog
from alflow.graph import TaskGraph
from alflow.sites import find_site, load_site
from alflow.tasks import Outcome, label
from alflow.types import Dataset, Frames, Group, Labels

CHUNK_SECONDS = 2.0
FIRST_GUESS_LABEL_SECONDS = 0.01


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
class _Chunk:
    rows: list[int]
    numbers: tuple[int, ...]
    charge: int


Result = tuple[_Chunk, Outcome]


def label_file(
    source: Path,
    target: Path,
    engine: str,
    settings: dict[str, Any],
    *,
    site: str | None = None,
    options: dict[str, str] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> LabelSummary:
    """Label every frame of a file that ASE reads, and write extended XYZ in the order of the input.

    A frame's total charge is read from `info["charge"]` (0 if absent). A frame that cannot be labelled is written
    without energy, with `label_failure` and `label_failure_detail` in its `info`.

    Args:
        source: structures.
        target: extended XYZ file to write.
        engine: name of the label engine.
        settings: of the engine.
        site: site to farm over; None labels in this process.
        options: of the site.
        progress: called with the frames done and all frames.

    Raises:
        InputError: the file cannot be read, a frame is periodic, a setting or option breaks a rule.
    """
    images = read_images(source)
    checked = validate(ENGINE_SETTINGS[_known(engine)], settings, f"--engine {engine}")
    plain = checked.model_dump(mode="json")
    started = time.monotonic()
    outcomes: list[Result] = []
    done = 0
    workers = 1
    run = _here if site is None else _over_site(site, options or {})
    for chunk, outcome, workers in run(images, engine, plain):  # noqa: B007 - the last one counts
        outcomes.append((chunk, outcome))
        done += len(chunk.rows)
        progress(done, len(images))
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


def _arguments(images: Sequence[Atoms], chunk: _Chunk, engine: str, settings: dict[str, Any]) -> tuple[Any, ...]:
    positions = np.stack([images[row].positions for row in chunk.rows])
    return engine, settings, chunk.numbers, positions, chunk.charge


def _here(images: Sequence[Atoms], engine: str, settings: dict[str, Any]) -> Iterator[tuple[_Chunk, Outcome, int]]:
    for group in _groups(images):
        for chunk in _cut(group, 8, FIRST_GUESS_LABEL_SECONDS):
            yield chunk, label(*_arguments(images, chunk, engine, settings)), 1


def _over_site(
    site: str, options: dict[str, str]
) -> Callable[[Sequence[Atoms], str, dict[str, Any]], Iterator[tuple[_Chunk, Outcome, int]]]:
    def run(images: Sequence[Atoms], engine: str, settings: dict[str, Any]) -> Iterator[tuple[_Chunk, Outcome, int]]:
        with TemporaryDirectory(prefix="alflow-label-") as folder:
            config = load_site(find_site(site), Path(folder), options)
            events = EventLog(Path(folder) / "events.jsonl")
            graph = TaskGraph(config, events)
            try:
                yield from _farm(graph, images, engine, settings)
            finally:
                graph.close()
                events.close()

    return run


def _farm(
    graph: TaskGraph, images: Sequence[Atoms], engine: str, settings: dict[str, Any]
) -> Iterator[tuple[_Chunk, Outcome, int]]:
    """Submit all frames, and yield what comes back as it comes."""
    arrived: list[Result | BaseException] = []
    open_chunks = 0
    for group in _groups(images):
        for chunk in _cut(group, 8, FIRST_GUESS_LABEL_SECONDS):

            def handle(result: Outcome | BaseException, chunk: _Chunk = chunk) -> None:
                arrived.append((chunk, result) if isinstance(result, Outcome) else result)

            graph.submit("label", *_arguments(images, chunk, engine, settings), handler=handle, frames=len(chunk.rows))
            open_chunks += 1
    while open_chunks:
        graph.run_until(lambda: bool(arrived))
        for result in arrived:
            if isinstance(result, BaseException):
                raise CampaignError(f"A label task failed: {type(result).__name__}: {result}") from result
            yield *result, graph.capacity("cpu")
        open_chunks -= len(arrived)
        arrived.clear()


def _write(images: Sequence[Atoms], outcomes: Sequence[Result], target: Path) -> Counter[str]:
    failures: Counter[str] = Counter()
    labelled = [Atoms(image.numbers, image.positions, info=dict(image.info)) for image in images]
    for chunk, outcome in outcomes:
        value = outcome.value
        for place, row in enumerate(value["rows"]):
            image = labelled[chunk.rows[row]]
            results = {"energy": float(value["energies"][place]), "forces": value["forces"][place]}
            image.calc = SinglePointCalculator(image, **results)
        for row, reason, detail, _ in value["failures"]:
            labelled[chunk.rows[row]].info |= {"label_failure": reason, "label_failure_detail": detail}
            failures[reason] += 1
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".part")
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
        groups.append(Group(frames, Labels(energies, np.stack([image.get_forces() for image in chosen]))))
    return Dataset(tuple(groups))


def _has_label(image: Atoms) -> bool:
    return image.calc is not None and {"energy", "forces"} <= image.calc.results.keys()
