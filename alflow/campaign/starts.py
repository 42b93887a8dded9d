"""Where a campaign starts: relaxed structures, reference pulls and first data, all made with the label engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from alflow.acquisition.seeds import integer_seed, seed_sequence
from alflow.acquisition.stopping import EarlyStop
from alflow.campaign.chain import SegmentChain, StoredState
from alflow.campaign.plan import Molecule, PullSpec, molecules, pulls, segment_lengths
from alflow.config.campaign import CampaignSettings
from alflow.errors import CampaignError
from alflow.execution.graph import TaskGraph
from alflow.farm.queue import LabelFarm
from alflow.ledger import Ledger, Origin, label_rows
from alflow.run.directory import RunDirectory
from alflow.types import LabelBatch, Labels, MDState, Segment
from alflow.workers.models import ModelReference
from alflow.workers.result import App, Call
from alflow.workers.tasks import FIRST_STATE, MD_SEGMENT, REFERENCE_SEGMENT, RELAX, State


def seed_words(settings: CampaignSettings, iteration: int, stage: str, *index: int) -> tuple[int, ...]:
    """Return the seed of one place in a campaign as plain integers, for a task that makes its own generator."""
    words = seed_sequence(settings.seed, iteration, stage, *index).generate_state(4)
    return tuple(int(word) for word in words)


def relaxation(
    settings: CampaignSettings, spec: PullSpec, model: ModelReference, app: App[..., MDState] = RELAX
) -> Call[MDState]:
    """Return the task that relaxes the start of a pull.

    Velocities depend on the replica alone: they are the same in every iteration and in the reference.
    """
    molecule = spec.molecule
    seed = seed_words(settings, 0, "velocities", spec.replica, len(molecule.numbers))
    settings_of = settings.sampling.relax
    return app(model, molecule.numbers, molecule.positions, molecule.steered, settings_of, seed, molecule.charge)


def pull_chain(
    graph: TaskGraph,
    app: App[..., Segment],
    folder: Path,
    spec: PullSpec,
    model: ModelReference,
    early_stop: EarlyStop | None = None,
    **detail: Any,
) -> SegmentChain:
    """Return the chain of tasks of one pull; nothing is submitted yet."""
    molecule = spec.molecule

    def call(previous: State, steps: int) -> Call[Segment]:
        return app(model, molecule.numbers, previous, spec.steering, spec.settings, steps, early_stop, molecule.charge)

    lengths = segment_lengths(spec.settings.steps, spec.settings.segment_steps)
    return SegmentChain(graph, folder, lengths, call, detail={"pull": spec.index, **detail})


def barrier(segments: list[Segment]) -> float:
    """Return the work of the spring at the last record of a pull, eV; not-a-number if it has none."""
    recorded = [segment.work for segment in segments if len(segment.work)]
    return float(recorded[-1][-1]) if recorded else float("nan")


@dataclass
class _Reference:
    """One pull with the label engine."""

    spec: PullSpec
    start: StoredState
    chain: SegmentChain

    @property
    def error(self) -> BaseException | None:
        return self.start.error or self.chain.error


class References:
    """A relaxed start, and a pull with the label engine from it, for every pull of the plan."""

    def __init__(
        self,
        settings: CampaignSettings,
        run: RunDirectory,
        graph: TaskGraph,
        farm: LabelFarm,
        count: Callable[[int, int], None] = lambda _done, _wanted: None,
    ) -> None:
        """Plan them.

        Args:
            settings: of the campaign.
            run: where they are stored.
            graph: what runs them.
            farm: names the label engine and its theory.
            count: told the steps done and wanted of all pulls whenever a segment has come.
        """
        self._settings, self._graph, self._model, self._count = settings, graph, farm.model, count
        folder = run.path / "reference" / farm.theory[:12]
        self._found = [
            _Reference(
                spec,
                StoredState(graph, folder / f"start-{spec.index:02d}.npz"),
                pull_chain(graph, REFERENCE_SEGMENT, folder / f"pull-{spec.index:02d}", spec, farm.model),
            )
            for spec in pulls(settings)
        ]

    def start(self) -> None:
        """Submit the relaxations, and behind each its pull, as far as the settings ask for them."""
        sampling = self._settings.sampling
        if not sampling.reference and sampling.relax_with != "label-engine":
            return
        for reference in self._found:
            call = relaxation(self._settings, reference.spec, self._model)
            state = reference.start.get(call, pull=reference.spec.index)
            if sampling.reference:
                reference.chain.on_segment = lambda _: self._count(*self._steps())
                reference.chain.start(state)

    def _steps(self) -> tuple[int, int]:
        """Return the steps done and wanted of all pulls."""
        chains = [reference.chain for reference in self._found]
        done = sum(chain.segments[-1].end.step for chain in chains if chain.segments)
        return done, sum(sum(chain.lengths) for chain in chains)

    def relaxed(self, spec: PullSpec) -> MDState:
        """Wait for the relaxed start of a pull, and return it.

        Raises:
            CampaignError: the relaxation failed.
        """
        start = self._found[spec.index].start
        self._graph.run_until(lambda: start.value is not None or start.error is not None)
        if start.value is None:
            raise CampaignError(f"The relaxation of {spec.name} failed: {start.error}") from start.error
        return replace(start.value, start=None)

    def done(self) -> bool:
        """Say whether all pulls have ended, well or not."""
        wanted = self._found if self._settings.sampling.reference else []
        return all(reference.chain.done or reference.start.error is not None for reference in wanted)

    def barriers(self, say: Callable[[str], None]) -> list[float]:
        """Return the barrier of every reference, eV; not-a-number for one that failed or ended before its last step.

        There are none where the settings ask for none.
        """
        found = []
        for reference in self._found if self._settings.sampling.reference else []:
            trouble = reference.error or reference.chain.segments[-1].stopped
            if trouble:
                say(f"The reference pull of {reference.spec.name} gives no barrier: {trouble}")
            found.append(float("nan") if trouble else barrier(reference.chain.segments))
        return found

    def segments(self) -> list[list[Segment]]:
        """Return the segments of each reference pull."""
        return [reference.chain.segments for reference in self._found]


def first_data(
    settings: CampaignSettings, run: RunDirectory, graph: TaskGraph, ledger: Ledger, farm: LabelFarm
) -> None:
    """Run molecular dynamics with the label engine; its frames, energies and forces are the first labels.

    Raises:
        CampaignError: a trajectory could not be run to its end.
    """
    chains = [
        (molecule, _first_chain(settings, run, graph, farm, index, molecule))
        for index, molecule in enumerate(molecules(settings))
    ]
    graph.run_until(lambda: all(chain.done for _, chain in chains))
    for index, (molecule, chain) in enumerate(chains):
        chain.raise_error(f"The first molecular dynamics of {molecule.name}")
        for segment in chain.segments:
            _keep_labels(settings, ledger, farm.theory, index, segment)
    ledger.commit()


def _first_chain(
    settings: CampaignSettings, run: RunDirectory, graph: TaskGraph, farm: LabelFarm, index: int, molecule: Molecule
) -> SegmentChain:
    md, folder = settings.first_data.md, run.path / "first-data" / molecule.name
    seed = integer_seed(settings.seed, 0, "first-data", index)

    def call(previous: State, steps: int) -> Call[Segment]:
        return MD_SEGMENT(farm.model, molecule.numbers, previous, md, steps, seed, molecule.charge)

    lengths = segment_lengths(md.equilibration_steps + md.steps, settings.first_data.segment_steps)
    chain = SegmentChain(graph, folder, lengths, call, detail={"molecule": molecule.name})
    words = seed_words(settings, 0, "first-velocities", index)
    start = StoredState(graph, folder / "start.npz")
    chain.start(start.get(FIRST_STATE(molecule.numbers, molecule.positions, md.temperature_k, words)))
    return chain


def _keep_labels(settings: CampaignSettings, ledger: Ledger, theory: str, replica: int, segment: Segment) -> None:
    """Put the frames after the equilibration into the ledger, those that are not there yet."""
    if segment.stopped:
        raise CampaignError(f"The first molecular dynamics ended early: {segment.stopped}")
    sampled = np.flatnonzero(segment.steps >= settings.first_data.md.equilibration_steps)
    rows = sampled[ledger.lookup(theory, segment.frames.take(sampled)).missing]
    assert segment.forces is not None
    origins = [Origin("first-data", 0, replica, int(segment.steps[row])) for row in rows]
    labels = Labels(segment.energy[rows], segment.forces[rows])
    batch = LabelBatch(np.arange(len(rows)), labels, (), np.zeros(len(rows)), np.full(len(rows), -1))
    ledger.add(label_rows(theory, segment.frames.take(rows), batch, origins, "", time.time()))
