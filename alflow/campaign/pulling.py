"""The stage that pulls: with the ensemble, while frames of the segments before are selected, jittered and labelled."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from alflow.acquisition import selection
from alflow.acquisition.augmentation import jitter
from alflow.acquisition.seeds import generator
from alflow.campaign.campaign import Campaign
from alflow.campaign.chain import JointChains, SegmentChain, StoredState
from alflow.campaign.judging import Judge
from alflow.campaign.plan import PullSpec
from alflow.campaign.reference import References, pull_chain, relaxation
from alflow.campaign.training import Trained
from alflow.ledger import Origin, OriginKind
from alflow.runs.xyz import write_trajectory
from alflow.types import Frames, Segment, SelectedFrame
from alflow.workers.models import EnsembleModel
from alflow.workers.result import Call
from alflow.workers.tasks import PULL_SEGMENT, PULL_SEGMENTS, RELAX_WITH_POTENTIAL, Batched, State


@dataclass
class Pull:
    """A pull of this iteration: its chain of tasks, and what the selector makes of it."""

    spec: PullSpec
    chain: SegmentChain
    selector: selection.SelectorState
    selected: list[SelectedFrame] = field(default_factory=list)
    closed: bool = False
    """Whether the selector has seen its end."""


def pull(campaign: Campaign, references: References, iteration: int, ensemble: Trained) -> list[Pull]:
    """Pull with the ensemble; select, jitter and label each segment's frames while the next one runs.

    Raises:
        CampaignError: a pull could not be run, or too many labels failed.
    """
    campaign.enter(iteration, "pull, select, label")
    campaign.farm.new_account()
    started = time.monotonic()
    pulls = campaign.plan.pulls
    campaign.view.steps_done, campaign.view.steps_wanted = 0, sum(spec.settings.steps for spec in pulls)
    stage = _Pulling(campaign, references, iteration, ensemble)
    running = stage.start(pulls)
    campaign.graph.run_until(lambda: all(one.chain.done for one in running))
    campaign.seconds["pull"] = time.monotonic() - started
    for one in running:
        one.chain.raise_error(f"The pull of {one.spec.name} in iteration {iteration}")
    campaign.view.stage = "label"
    campaign.graph.run_until(campaign.farm.idle)
    campaign.ledger.commit()
    campaign.seconds["label"] = time.monotonic() - started
    campaign.farm.check_failures(iteration)
    return running


class _Pulling:
    """The pulls of one iteration."""

    def __init__(self, campaign: Campaign, references: References, iteration: int, ensemble: Trained) -> None:
        self._campaign, self._references, self._iteration = campaign, references, iteration
        self._settings = campaign.settings
        self._folder = campaign.run.iteration(iteration)
        self._judge = Judge.of(self._settings, ensemble.path, ensemble.dataset, ensemble.best)
        driver: int | Literal["mean"] = "mean"
        if self._settings.potential.driver == "best-member":
            driver = ensemble.members.index(ensemble.best)
        self._model = EnsembleModel(str(ensemble.path), driver)

    def rules(self, specs: Sequence[PullSpec]) -> list[selection.SelectionRule]:
        """Return the selection rule of each pull: they share the cap, and take turns at the windows."""
        chosen, replicas = self._settings.selection, self._settings.sampling.replicas
        caps = selection.share_budget(chosen.cap, [spec.replica for spec in specs])
        rules = []
        for spec, cap in zip(specs, caps, strict=True):
            first = spec.index - spec.replica
            alike = sum(map(bool, caps[first : first + replicas]))
            turn = selection.window_turn(spec.replica, alike, chosen.windows, self._iteration)
            rules.append(self._judge.rule(spec, cap, turn))
        return rules

    def start(self, specs: Sequence[PullSpec]) -> list[Pull]:
        """Submit the tasks of all pulls: each by itself, or as many replicas of one molecule and rate as the batch."""
        pulls = [self._prepare(spec, rule) for spec, rule in zip(specs, self.rules(specs), strict=True)]
        batch = self._settings.sampling.batch
        if batch == "off":
            for one in pulls:
                one.chain.start(self._start_of(one.spec))
            return pulls
        replicas = self._settings.sampling.replicas
        for first in range(0, len(pulls), replicas):
            alike = pulls[first : first + replicas]
            for at in range(0, replicas, batch):
                self._start_together(alike[at : at + batch])
        return pulls

    def _start_together(self, pulls: Sequence[Pull]) -> None:
        """Submit the tasks of replicas that advance together."""
        spec, model = pulls[0].spec, self._model

        def call(previous: tuple[Batched, ...], steps: int) -> Call[tuple[Segment, ...]]:
            molecule = spec.molecule
            return PULL_SEGMENTS(model, molecule.composition, spec.steering, spec.settings, steps, *previous)

        chains = tuple(one.chain for one in pulls)
        detail = {"pulls": [one.spec.index for one in pulls], "iteration": self._iteration}
        JointChains(self._campaign.graph, chains, call, detail).start([self._start_of(one.spec) for one in pulls])

    def _prepare(self, spec: PullSpec, rule: selection.SelectionRule) -> Pull:
        """Return a pull; nothing is submitted yet."""
        campaign, model = self._campaign, self._model
        folder = self._folder / f"pull-{spec.index:02d}"
        early_stop = self._judge.early_stop()
        chain = pull_chain(campaign.graph, PULL_SEGMENT, folder, spec, model, early_stop, iteration=self._iteration)
        found = Pull(spec, chain, selection.start(rule, spec.index))
        chain.on_segment = lambda segment: self._select(found, self._judge.with_chosen_spread(segment))
        return found

    def _start_of(self, spec: PullSpec) -> State:
        """Return where a pull starts: the relaxed structure, or the promise of the task that relaxes it."""
        if self._settings.sampling.relax_with == "label-engine":
            return self._references.relaxed(spec)
        state = StoredState(self._campaign.graph, self._folder / f"start-{spec.index:02d}.npz")
        call = relaxation(self._settings, spec, self._model, RELAX_WITH_POTENTIAL)
        return state.get(call, pull=spec.index, iteration=self._iteration)

    def _select(self, one: Pull, segment: Segment) -> None:
        """Feed one segment to the selector, and ask for labels of what it picks; write down a pull that has ended."""
        one.selector, picked = selection.step(one.selector, segment)
        ended = one.chain.done and not one.closed
        if ended:
            one.closed = True
            one.selector, last = selection.finish(one.selector)
            picked = (*picked, *last)
        view = self._campaign.view
        before = one.chain.segments[-2].end.step if len(one.chain.segments) > 1 else 0
        view.steps_done += segment.end.step - before
        view.work_ev = float(segment.work[-1]) if len(segment.work) else view.work_ev
        if picked:
            one.selected.extend(picked)
            self._ask_for_labels(one.spec, picked)
        if ended:
            write_trajectory(self._folder / f"pull-{one.spec.index:02d}.xyz", one.chain.segments)

    def _ask_for_labels(self, spec: PullSpec, picked: tuple[SelectedFrame, ...]) -> None:
        augment, positions, origins = self._settings.augmentation, [], []
        for frame in picked:
            rng = generator(self._settings.seed, self._iteration, "jitter", spec.index, frame.step)
            copies = jitter(frame.positions, augment.copies, augment.amplitude_angstrom, rng)
            for number, structure in enumerate([frame.positions, *copies]):
                kind: OriginKind = "jitter" if number else "selected"
                origins.append(Origin(kind, self._iteration, spec.index, frame.step, number))
                positions.append(structure)
        molecule = spec.molecule
        self._campaign.farm.request(Frames(molecule.composition, np.stack(positions)), origins)
