"""Pulls with the label engine from relaxed starts, once a campaign: barriers are compared with theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alflow.acquisition.stopping import EarlyStop
from alflow.campaign.campaign import Campaign
from alflow.campaign.chain import SegmentChain, StoredState
from alflow.campaign.plan import PullSpec, seed_words, segment_lengths
from alflow.campaign.record import barrier
from alflow.config.campaign import CampaignSettings
from alflow.errors import CampaignError
from alflow.execution.graph import TaskGraph
from alflow.types import MDState, Segment
from alflow.workers.models import ModelReference
from alflow.workers.result import App, Call
from alflow.workers.tasks import REFERENCE_SEGMENT, RELAX, RELAX_WITH_BASE, State


def relaxation(
    settings: CampaignSettings, spec: PullSpec, model: ModelReference, app: App[..., MDState] = RELAX
) -> Call[MDState]:
    """Return the task that relaxes the start of a pull.

    Velocities depend on the replica alone: they are the same in every iteration and in the reference.
    """
    molecule = spec.molecule
    seed = seed_words(settings, 0, "velocities", spec.replica, len(molecule.composition))
    settings_of = settings.sampling.relax
    return app(model, molecule.composition, molecule.positions, spec.steered, settings_of, seed)


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
        return app(model, molecule.composition, previous, spec.steering, spec.settings, steps, early_stop, spec.noise)

    lengths = segment_lengths(spec.settings.steps, spec.settings.segment_steps)
    return SegmentChain(graph, folder, lengths, call, detail={"pull": spec.index, **detail})


@dataclass
class _Reference:
    """One pull with the label engine."""

    spec: PullSpec
    start: StoredState
    chain: SegmentChain
    started: bool = False

    @property
    def error(self) -> BaseException | None:
        return self.start.error or self.chain.error


class References:
    """A relaxed start, and a pull with the label engine from it, for every pull of the plan."""

    def __init__(self, campaign: Campaign) -> None:
        """Plan them; nothing is submitted yet."""
        self._settings, self._graph, self._view = campaign.settings, campaign.graph, campaign.view
        self._say, self._model = campaign.say, campaign.farm.model
        self._base = campaign.base if campaign.settings.sampling.relax_with == "base" else None
        folder, graph = campaign.run.path / "reference" / campaign.farm.theory[:12], campaign.graph
        self._found = [
            _Reference(
                spec,
                StoredState(graph, folder / f"start-{spec.index:02d}.npz"),
                pull_chain(graph, REFERENCE_SEGMENT, folder / f"pull-{spec.index:02d}", spec, self._model),
            )
            for spec in campaign.plan.pulls
        ]

    def start(self, specs: Sequence[PullSpec]) -> None:
        """Submit the relaxations, and behind each its pull, as far as the settings ask for them; none of them twice."""
        sampling = self._settings.sampling
        if not sampling.reference and sampling.relax_with == "potential":
            return
        for reference in self._of(specs):
            if reference.started:
                continue
            reference.started = True
            if self._base is None or self._base.model is None:
                call = relaxation(self._settings, reference.spec, self._model)
            else:
                call = relaxation(self._settings, reference.spec, self._base.model, RELAX_WITH_BASE)
            state = reference.start.get(call, pull=reference.spec.index)
            if sampling.reference:
                reference.chain.on_segment = lambda _: self._count_steps()
                reference.chain.start(state)

    def _of(self, specs: Sequence[PullSpec]) -> list[_Reference]:
        return [self._found[spec.index] for spec in specs]

    def _count_steps(self) -> None:
        """Show the steps done and wanted of all pulls that were submitted."""
        chains = [reference.chain for reference in self._found if reference.started]
        self._view.reference_done = sum(chain.segments[-1].end.step for chain in chains if chain.segments)
        self._view.reference_wanted = sum(sum(chain.lengths) for chain in chains)

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

    def done(self, specs: Sequence[PullSpec]) -> bool:
        """Say whether the references of some pulls have ended, well or not."""
        wanted = self._of(specs) if self._settings.sampling.reference else []
        return all(reference.chain.done or reference.start.error is not None for reference in wanted)

    def barriers(self, specs: Sequence[PullSpec]) -> list[float]:
        """Return the barrier of the reference of each of some pulls, eV.

        It is not-a-number for one that failed or ended before its last step. There are none where the settings ask for
        none.
        """
        found = []
        for reference in self._of(specs) if self._settings.sampling.reference else []:
            trouble = reference.error or reference.chain.segments[-1].stopped
            if trouble:
                self._say(f"The reference pull of {reference.spec.name} gives no barrier: {trouble}")
            found.append(float("nan") if trouble else barrier(reference.chain.segments))
        return found

    def segments(self, specs: Sequence[PullSpec]) -> list[list[Segment]]:
        """Return the segments of the reference of each of some pulls."""
        return [reference.chain.segments for reference in self._of(specs)]
