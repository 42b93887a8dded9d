"""The stage that pulls: with the ensemble, while frames of the segments before are selected, jittered and labelled.

Where the frames of all pulls are chosen together, and for the audit, that is done once the pulls have ended.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from alflow.acquisition import selection
from alflow.acquisition.audit import calibrate
from alflow.acquisition.augmentation import jitter
from alflow.acquisition.seeds import generator
from alflow.campaign.assessing import Assessor
from alflow.campaign.batch import Audited, EndedPull, choose_batch, draw_audit
from alflow.campaign.budget import Allotment
from alflow.campaign.campaign import Campaign
from alflow.campaign.chain import JointChains, SegmentChain, StoredState
from alflow.campaign.correcting import AroundTheBreak, draw_around_the_break
from alflow.campaign.difference import added_engine
from alflow.campaign.judging import Judge
from alflow.campaign.late import Came, wait_for_labels
from alflow.campaign.plan import PullSpec
from alflow.campaign.reference import References, pull_chain, relaxation
from alflow.campaign.training import Trained
from alflow.campaign.way import plausibility_of
from alflow.config.acquisition import SelectionSettings
from alflow.ledger import Origin, OriginKind
from alflow.runs.audits import load_audits
from alflow.runs.xyz import write_trajectory
from alflow.types import Composition, FloatArray, Frames, Segment, SelectedFrame
from alflow.workers.models import EnsembleModel
from alflow.workers.result import Call
from alflow.workers.tasks import PULL_SEGMENT, PULL_SEGMENTS, RELAX_WITH_POTENTIAL, Batched, State


@dataclass
class Pull:
    """A pull of this iteration: its chain of tasks, and what the selector makes of it."""

    spec: PullSpec
    chain: SegmentChain
    selector: selection.SelectorState | None
    """None where the frames of all pulls are chosen together."""
    selected: list[SelectedFrame] = field(default_factory=list)
    closed: bool = False
    """Whether its end has been seen."""

    def threshold(self, settings: SelectionSettings) -> float:
        """Return what its frames were judged by; not-a-number if it ended before there was a threshold."""
        if self.selector is None:
            return settings.tolerance_ev_per_angstrom
        return float("nan") if self.selector.threshold is None else self.selector.threshold


@dataclass(frozen=True)
class Pulled:
    """The pulls of an iteration, the audits of the ensemble that made them, and what came of all labels."""

    pulls: list[Pull]
    given: Allotment
    """What it might ask for."""
    came: Came
    audited: list[Audited]
    around_the_break: list[AroundTheBreak]
    starts: Mapping[Composition, Frames]
    """A frame of each composition, from whose energy the errors of energies are taken."""


def pull(
    campaign: Campaign,
    references: References,
    iteration: int,
    ensemble: Trained,
    specs: Sequence[PullSpec],
    given: Allotment,
) -> Pulled:
    """Pull with the ensemble; select, jitter and label each segment's frames while the next one runs.

    Raises:
        CampaignError: a pull could not be run, or too many labels failed.
    """
    campaign.enter(iteration, "pull, select, label")
    started = time.monotonic()
    campaign.view.steps_done, campaign.view.steps_wanted = 0, sum(spec.settings.steps for spec in specs)
    stage = _Pulling(campaign, references, iteration, ensemble, given)
    running = stage.start_all(specs)
    campaign.graph.run_until(lambda: all(one.chain.done for one in running))
    campaign.seconds["pull"] = time.monotonic() - started
    for one in running:
        one.chain.raise_error(f"The pull of {one.spec.name} in iteration {iteration}")
    audits = stage.choose(running)
    campaign.view.stage = "label"
    came = wait_for_labels(campaign, iteration)
    campaign.seconds["label"] = time.monotonic() - started
    campaign.farm.check_failures(iteration)
    return Pulled(running, given, came, *audits)


class _Pulling:
    """The pulls of one iteration."""

    def __init__(
        self, campaign: Campaign, references: References, iteration: int, ensemble: Trained, given: Allotment
    ) -> None:
        self._given = given
        self._campaign, self._references, self._iteration = campaign, references, iteration
        self._settings = campaign.settings
        self._folder = campaign.run.iteration(iteration)
        self._judge = Judge.of(self._settings, ensemble.path, ensemble.dataset, ensemble.best)
        driver: int | Literal["mean"] = "mean"
        if self._settings.potential.driver == "best-member":
            driver = ensemble.members.index(ensemble.best)
        self._model = EnsembleModel(str(ensemble.path), driver, added_engine(campaign))
        self._together = self._settings.selection.threshold == "calibrated"
        self._assessor = Assessor(campaign, iteration, self._model, ensemble.dataset)

    def start_all(self, specs: Sequence[PullSpec]) -> list[Pull]:
        """Submit the tasks of all pulls: each by itself, or as many replicas of one molecule and rate as the batch."""
        rules = [None] * len(specs) if self._together else self._rules(specs)
        pulls = [self._prepare(spec, rule) for spec, rule in zip(specs, rules, strict=True)]
        batch = self._settings.sampling.batch
        if batch == "off":
            for one in pulls:
                one.chain.start(self._start_of(one.spec))
            return pulls
        alike: dict[int, list[Pull]] = {}
        for one in pulls:
            alike.setdefault(one.spec.index - one.spec.replica, []).append(one)
        for replicas in alike.values():
            for first in range(0, len(replicas), batch):
                self._start_together(replicas[first : first + batch])
        return pulls

    def choose(self, pulls: list[Pull]) -> tuple[list[Audited], list[AroundTheBreak], Mapping[Composition, Frames]]:
        """Draw the audits, choose what is chosen of all pulls together, and ask for the labels of all.

        The audits come first: where time or budget ends, they are what is not to be missed.
        """
        chosen, given = self._settings.selection, self._given
        if not given.audits(self._settings):
            return [], [], {}
        ended = [EndedPull.of(one.spec, one.chain.segments, plausibility_of(chosen, one.spec)) for one in pulls]
        self._assessor.starts = self._starts(ended)
        audited = draw_audit(self._settings, self._iteration, ended, self._assessor, given.audit)
        for part in audited:
            steps = part.pull.steps[part.rows]
            origins = [Origin("audit", self._iteration, part.pull.spec.index, int(step)) for step in steps]
            self._campaign.farm.request(part.frames, origins)
        stopped, wanted = [bool(one.chain.segments[-1].stopped) for one in pulls], given.audited_pulls
        around = draw_around_the_break(self._campaign, self._iteration, ended, stopped, self._assessor, wanted)
        if self._together:
            self._choose_together(pulls, ended, audited)
        return audited, around, self._assessor.starts

    def _choose_together(self, pulls: list[Pull], ended: Sequence[EndedPull], audited: Sequence[Audited]) -> None:
        """Choose the frames of all pulls together, and ask for their labels, the most useful first."""
        calibration = calibrate(load_audits(self._campaign.run, self._iteration))
        rng = generator(self._settings.seed, self._iteration, "batch")
        batch = choose_batch(self._settings, ended, self._assessor, calibration, audited, rng, self._given.cap)
        for place, frame in batch:
            pulls[place].selected.append(frame)
        for one in pulls:
            one.selected.sort(key=lambda frame: frame.step)
        self._ask_for_labels([(pulls[place].spec, frame) for place, frame in batch])

    def _starts(self, ended: Sequence[EndedPull]) -> dict[Composition, Frames]:
        """Return the first frame of the first pull of each composition, and ask for its label.

        Where the label engine or a base relaxed it, it is the same in all iterations, and was labelled for the first
        audit.
        """
        found: dict[Composition, Frames] = {}
        same = self._settings.sampling.relax_with != "potential"
        labelled = same and any(load_audits(self._campaign.run, self._iteration))
        for one in ended:
            if len(one.fit) and one.frames.composition not in found:
                first = one.fit[:1]
                found[one.frames.composition] = one.frames.take(first)
                origin = Origin("audit", self._iteration, one.spec.index, int(one.steps[first[0]]))
                if not labelled:
                    self._campaign.farm.request(one.frames.take(first), [origin])
        return found

    def _rules(self, specs: Sequence[PullSpec]) -> list[selection.SelectionRule]:
        """Return the selection rule of each pull: they share the cap, and take turns at the windows."""
        chosen = self._settings.selection
        caps = selection.share_budget(self._given.cap, [spec.replica for spec in specs])
        alike = Counter(spec.index - spec.replica for spec, cap in zip(specs, caps, strict=True) if cap)
        rules = []
        for spec, cap in zip(specs, caps, strict=True):
            places = alike[spec.index - spec.replica]
            turn = selection.window_turn(spec.replica, places, chosen.windows, self._iteration)
            rules.append(self._judge.rule(spec, cap, turn))
        return rules

    def _start_together(self, pulls: Sequence[Pull]) -> None:
        """Submit the tasks of replicas that advance together."""
        spec, model = pulls[0].spec, self._model

        def call(previous: tuple[Batched, ...], steps: int) -> Call[tuple[Segment, ...]]:
            molecule = spec.molecule
            return PULL_SEGMENTS(model, molecule.composition, spec.steering, spec.settings, steps, *previous)

        chains = tuple(one.chain for one in pulls)
        detail = {"pulls": [one.spec.index for one in pulls], "iteration": self._iteration}
        JointChains(self._campaign.graph, chains, call, detail).start([self._start_of(one.spec) for one in pulls])

    def _prepare(self, spec: PullSpec, rule: selection.SelectionRule | None) -> Pull:
        """Return a pull; nothing is submitted yet."""
        campaign, model = self._campaign, self._model
        folder = self._folder / f"pull-{spec.index:02d}"
        early_stop = self._judge.early_stop()
        chain = pull_chain(campaign.graph, PULL_SEGMENT, folder, spec, model, early_stop, iteration=self._iteration)
        found = Pull(spec, chain, None if rule is None else selection.start(rule, spec.index))
        chain.on_segment = lambda segment: self._take(found, segment)
        return found

    def _start_of(self, spec: PullSpec) -> State:
        """Return where a pull starts: the relaxed structure, or the promise of the task that relaxes it."""
        if self._settings.sampling.relax_with != "potential":
            return self._references.relaxed(spec)
        state = StoredState(self._campaign.graph, self._folder / f"start-{spec.index:02d}.npz")
        call = relaxation(self._settings, spec, self._model, RELAX_WITH_POTENTIAL)
        return state.get(call, pull=spec.index, iteration=self._iteration)

    def _take(self, one: Pull, segment: Segment) -> None:
        """Feed one segment to the selector, and ask for labels of what it picks; write down a pull that has ended."""
        ended = one.chain.done and not one.closed
        one.closed = one.closed or ended
        view = self._campaign.view
        before = one.chain.segments[-2].end.step if len(one.chain.segments) > 1 else 0
        view.steps_done += segment.end.step - before
        view.work_ev = float(segment.work[-1]) if len(segment.work) else view.work_ev
        if one.selector is not None:
            one.selector, picked = selection.step(one.selector, self._judge.with_chosen_spread(segment))
            if ended:
                one.selector, last = selection.finish(one.selector)
                picked = (*picked, *last)
            one.selected.extend(picked)
            self._ask_for_labels([(one.spec, frame) for frame in picked])
        if ended:
            write_trajectory(self._folder / f"pull-{one.spec.index:02d}.xyz", one.chain.segments)

    def _ask_for_labels(self, picked: Sequence[tuple[PullSpec, SelectedFrame]]) -> None:
        """Ask for the labels of frames, the most useful first, and then for those of their jittered copies."""
        structures = [self._with_copies(spec, frame) for spec, frame in picked]
        wanted = [
            (spec.molecule.composition, copies[number], Origin(kind, self._iteration, spec.index, frame.step, number))
            for number, kind in enumerate(self._kinds())
            for (spec, frame), copies in zip(picked, structures, strict=True)
        ]
        for composition, some in itertools.groupby(wanted, key=lambda one: one[0]):
            _, positions, origins = zip(*some, strict=True)
            self._campaign.farm.request(Frames(composition, np.stack(positions)), origins)

    def _kinds(self) -> list[OriginKind]:
        copies: list[OriginKind] = ["jitter"] * self._settings.augmentation.copies
        return ["selected", *copies]

    def _with_copies(self, spec: PullSpec, frame: SelectedFrame) -> list[FloatArray]:
        augment = self._settings.augmentation
        rng = generator(self._settings.seed, self._iteration, "jitter", spec.index, frame.step)
        return [frame.positions, *jitter(frame.positions, augment.copies, augment.amplitude_angstrom, rng)]
