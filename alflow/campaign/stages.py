"""The stages of an iteration, each of which finds on disk what an earlier run already did."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from alflow.acquisition import selection
from alflow.acquisition.augmentation import jitter
from alflow.acquisition.seeds import generator
from alflow.acquisition.splits import inherited_split_of_groups, random_split
from alflow.acquisition.stopping import change_within, error_within
from alflow.campaign.chain import SegmentChain, StoredState
from alflow.campaign.forecast import forecast_from_first_iteration
from alflow.campaign.judging import Judge
from alflow.campaign.plan import PullSpec, pulls
from alflow.campaign.starts import References, barrier, first_data, pull_chain, relaxation, seed_words
from alflow.config.campaign import CampaignSettings
from alflow.display.progress import View
from alflow.errors import CampaignError
from alflow.execution.graph import TaskGraph
from alflow.farm.queue import LabelFarm
from alflow.ledger import Ledger, Origin, OriginKind
from alflow.potentials import join_files
from alflow.report.report import refresh_report
from alflow.run.directory import RunDirectory, load_members, save_dataset, save_members, write_atomically
from alflow.run.events import read_events
from alflow.run.records import Estimate, IterationRecord
from alflow.run.xyz import write_selected, write_trajectory
from alflow.types import Dataset, FloatArray, Frames, Member, Segment, SelectedFrame, Split
from alflow.workers.models import EnsembleModel
from alflow.workers.result import Outcome
from alflow.workers.tasks import PULL_SEGMENT, RELAX_WITH_POTENTIAL, TRAIN


@dataclass(frozen=True)
class Trained:
    """The ensemble of an iteration."""

    path: Path
    members: tuple[Member, ...]
    dataset: Dataset

    @property
    def best(self) -> Member:
        """The member with the lowest force error on all data."""
        return min(self.members, key=lambda member: member.all_errors.force_mae_ev_per_angstrom)


@dataclass
class Pull:
    """A pull of this iteration: its chain of tasks, and what the selector makes of it."""

    spec: PullSpec
    chain: SegmentChain
    selector: selection.SelectorState
    selected: list[SelectedFrame] = field(default_factory=list)
    closed: bool = False


@dataclass
class Stages:
    """What a campaign does, one method a stage."""

    settings: CampaignSettings
    run: RunDirectory
    graph: TaskGraph
    ledger: Ledger
    farm: LabelFarm
    view: View
    say: Callable[[str], None] = lambda _: None
    seconds: dict[str, float] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    """Tasks that ended before this iteration."""

    @cached_property
    def references(self) -> References:
        """Pulls with the label engine."""
        return References(self.settings, self.run, self.graph, self.farm, self._count_reference_steps)

    def records(self) -> tuple[IterationRecord, ...]:
        """Return the committed iterations."""
        return self.run.records()

    # ---- start -------------------------------------------------------------------------------------------------------

    def start_reference(self) -> None:
        """Start relaxations and reference pulls with the label engine; nothing waits for them yet."""
        self.references.start()

    def first_data(self) -> None:
        """Run molecular dynamics with the label engine; its frames, energies and forces are the first labels."""
        self._enter(0, "first data")
        first_data(self.settings, self.run, self.graph, self.ledger, self.farm)

    # ---- training ----------------------------------------------------------------------------------------------------

    def train(self, iteration: int) -> Trained:
        """Train the ensemble of this iteration on all labels of the earlier ones."""
        self._enter(iteration, "training")
        started = time.monotonic()
        folder = self.run.iteration(iteration)
        folder.mkdir(exist_ok=True)
        dataset = self._dataset(iteration)
        target, report = folder / "ensemble.pt", folder / "members.json"
        if not (target.exists() and report.exists()):
            save_dataset(folder / "dataset.npz", dataset)
            members = self._train_members(iteration, dataset, folder)
            save_members(report, members)
            for part in folder.glob("members-*"):
                part.unlink()
        trained = Trained(target, load_members(report), dataset)
        self.seconds["train"] = time.monotonic() - started
        return trained

    def _dataset(self, iteration: int) -> Dataset:
        """Return what the members of an iteration learn from: first data, and what earlier iterations selected."""
        first, _ = self.ledger.dataset(self.farm.theory, 0, kinds=("import", "first-data"))
        if iteration == 0:
            return first
        return self.ledger.dataset(self.farm.theory, iteration - 1)[0]

    def _train_members(self, iteration: int, dataset: Dataset, folder: Path) -> tuple[Member, ...]:
        """Train all members, in tasks of `members_per_task`; what an earlier run trained is kept."""
        settings = self.settings
        splits = [self._split(iteration, dataset, member) for member in range(settings.split.members)]
        before = self.run.iteration(iteration - 1) / "ensemble.pt"
        initial = str(before) if iteration and settings.training.start == "carried-over" else None
        share = settings.training.members_per_task or settings.split.members
        groups = [list(range(first, min(first + share, len(splits)))) for first in range(0, len(splits), share)]
        files = [folder / f"members-{number}.pt" for number in range(len(groups))]
        results: list[Outcome[tuple[Member, ...]] | BaseException] = []
        missing = [number for number, file in enumerate(files) if not file.exists()]
        for number in missing:
            call = TRAIN(
                str(folder / "dataset.npz"),
                splits,
                groups[number],
                settings.potential,
                seed_words(settings, iteration, "training"),
                initial,
                str(files[number]),
            )
            self.graph.submit(call, results.append, iteration=iteration, members=len(groups[number]))
        self.graph.run_until(lambda: len(results) == len(missing))
        for result in results:
            if isinstance(result, BaseException):
                raise CampaignError(f"Training failed: {type(result).__name__}: {result}") from result
        join_files(files, folder / "ensemble.pt")
        return tuple(member for file in files for member in load_members(file.with_suffix(".json")))

    def _split(self, iteration: int, dataset: Dataset, member: int) -> Split:
        shared = self.settings.selection.threshold == "conformal"  # calibrated on rows that no member trained on
        rng = generator(self.settings.seed, iteration, "split", 0 if shared else member)
        fraction = self.settings.split.train_fraction
        if iteration == 0 or self.settings.split.kind == "random":
            return random_split(len(dataset), fraction, rng)
        before = self._dataset(iteration - 1)
        best = Trained(Path(), load_members(self.run.iteration(iteration - 1) / "members.json"), before).best
        old = [len(group.frames) for group in before.groups]
        new = [len(group.frames) for group in dataset.groups]
        return inherited_split_of_groups(best.split, old, new, fraction, rng)

    # ---- pull, select, label -----------------------------------------------------------------------------------------

    def pull(self, iteration: int, ensemble: Trained) -> list[Pull]:
        """Pull with the ensemble; select, jitter and label each segment's frames while the next one runs."""
        self._enter(iteration, "pull, select, label")
        self.farm.new_account()
        started = time.monotonic()
        judge = Judge(self.settings, ensemble.path, ensemble.dataset, ensemble.best)
        driver: int | Literal["mean"] = "mean"
        if self.settings.potential.driver == "best-member":
            driver = ensemble.members.index(ensemble.best)
        model = EnsembleModel(str(ensemble.path), driver)
        specs = pulls(self.settings)
        rules = self._rules(iteration, judge, specs)
        self.view.steps_done, self.view.steps_wanted = 0, sum(spec.settings.steps for spec in specs)
        running = [
            self._start_pull(iteration, spec, model, judge, rule) for spec, rule in zip(specs, rules, strict=True)
        ]
        self.graph.run_until(lambda: all(pull.chain.done for pull in running))
        self.seconds["pull"] = time.monotonic() - started
        for pull in running:
            pull.chain.raise_error(f"The pull of {pull.spec.name} in iteration {iteration}")
        self.view.stage = "label"
        self.graph.run_until(self.farm.idle)
        self.ledger.commit()
        self.seconds["label"] = time.monotonic() - started
        self.farm.check_failures(iteration)
        return running

    def _rules(self, iteration: int, judge: Judge, specs: Sequence[PullSpec]) -> list[selection.SelectionRule]:
        """Return the selection rule of each pull: they share the cap, and take turns at the windows."""
        chosen, replicas = self.settings.selection, self.settings.sampling.replicas
        caps = selection.share_budget(chosen.cap, [spec.replica for spec in specs])
        rules = []
        for spec, cap in zip(specs, caps, strict=True):
            first = spec.index - spec.replica
            alike = sum(map(bool, caps[first : first + replicas]))
            turn = selection.window_turn(spec.replica, alike, chosen.windows, iteration)
            rules.append(judge.rule(spec, cap, turn))
        return rules

    def _start_pull(
        self, iteration: int, spec: PullSpec, model: EnsembleModel, judge: Judge, rule: selection.SelectionRule
    ) -> Pull:
        folder = self.run.iteration(iteration)
        early_stop = judge.early_stop()
        chain = pull_chain(
            self.graph, PULL_SEGMENT, folder / f"pull-{spec.index:02d}", spec, model, early_stop, iteration=iteration
        )
        pull = Pull(spec, chain, selection.start(rule, spec.index))
        chain.on_segment = lambda segment: self._select(iteration, pull, judge.with_chosen_spread(segment))
        if self.settings.sampling.relax_with == "label-engine":
            chain.start(self.references.relaxed(spec))
        else:
            state = StoredState(self.graph, folder / f"start-{spec.index:02d}.npz")
            call = relaxation(self.settings, spec, model, RELAX_WITH_POTENTIAL)
            chain.start(state.get(call, pull=spec.index, iteration=iteration))
        return pull

    def _select(self, iteration: int, pull: Pull, segment: Segment) -> None:
        """Feed one segment to the selector, and ask for labels of what it picks; write down a pull that has ended."""
        pull.selector, picked = selection.step(pull.selector, segment)
        ended = pull.chain.done and not pull.closed
        if ended:
            pull.closed = True
            pull.selector, last = selection.finish(pull.selector)
            picked = (*picked, *last)
        before = pull.chain.segments[-2].end.step if len(pull.chain.segments) > 1 else 0
        self.view.steps_done += segment.end.step - before
        self.view.work_ev = float(segment.work[-1]) if len(segment.work) else self.view.work_ev
        if picked:
            pull.selected.extend(picked)
            self._ask_for_labels(iteration, pull.spec, picked)
        if ended:
            write_trajectory(self.run.iteration(iteration) / f"pull-{pull.spec.index:02d}.xyz", pull.chain.segments)

    def _ask_for_labels(self, iteration: int, spec: PullSpec, picked: tuple[SelectedFrame, ...]) -> None:
        augment, positions, origins = self.settings.augmentation, [], []
        for frame in picked:
            rng = generator(self.settings.seed, iteration, "jitter", spec.index, frame.step)
            copies = jitter(frame.positions, augment.copies, augment.amplitude_angstrom, rng)
            for number, structure in enumerate([frame.positions, *copies]):
                kind: OriginKind = "jitter" if number else "selected"
                origins.append(Origin(kind, iteration, spec.index, frame.step, number))
                positions.append(structure)
        molecule = spec.molecule
        self.farm.request(Frames(molecule.numbers, np.stack(positions), molecule.charge), origins)

    # ---- commit ------------------------------------------------------------------------------------------------------

    def commit(self, iteration: int, ensemble: Trained, done: list[Pull]) -> None:
        """Write what was selected and, last and whole, the record of the iteration."""
        self._enter(iteration, "reference" if not self.references.done() else "commit")
        self.graph.run_until(self.references.done)
        self._enter(iteration, "commit")
        folder = self.run.iteration(iteration)
        name = "spread_ev" if self.settings.selection.spread_of == "energy" else "spread_ev_per_angstrom"
        write_selected(folder / "selected.xyz", [(pull.spec.molecule, pull.selected) for pull in done], name)
        record = self._record(iteration, ensemble, done)
        self.run.commit(record)
        self.view.records = list(self.records())
        self.seconds, self.counted = {}, self.graph.counts.copy()
        if iteration == 0:
            self._write_forecast(record)
        trouble = refresh_report(self.run)
        if trouble:
            self.say(trouble)

    def _write_forecast(self, first: IterationRecord) -> None:
        """Say, from what the first iteration took, what the whole campaign will."""
        events = read_events(self.run.events)
        times = self.ledger.label_seconds(self.farm.theory, pulls(self.settings)[0].molecule.numbers)
        times = times[times > 0]  # first data took no time of their own
        label_seconds = float(np.mean(times)) if len(times) else self.farm.label_seconds()
        found = forecast_from_first_iteration(self.settings, label_seconds, first.labels, events)
        if found is not None:
            write_atomically(self.run.path / "forecast.json", json.dumps(asdict(found)).encode())

    def _record(self, iteration: int, ensemble: Trained, done: list[Pull]) -> IterationRecord:
        barriers = [barrier(pull.chain.segments) for pull in done]
        references = self.references.barriers(self.say)
        pairs = [
            float("nan") if pull.chain.segments[-1].stopped else pulled - reference
            for pull, pulled, reference in zip(done, barriers, references, strict=False)
        ]
        judge = Judge(self.settings, ensemble.path, ensemble.dataset, ensemble.best)
        unseen = judge.unseen_errors(self.references.segments()) if references else (None, None)
        valid = [member.valid_errors for member in ensemble.members]
        spreads = [np.concatenate([segment.spread for segment in pull.chain.segments]) for pull in done]
        counts = Counter(name.split(":")[0] for name in (self.graph.counts - self.counted).elements())
        selected = sum(len(pull.selected) for pull in done)
        alike = len(done) == self.settings.sampling.replicas
        return IterationRecord(
            iteration=iteration,
            labels=len(ensemble.dataset),
            selected=selected,
            new_labels=self.farm.done - self.farm.failed,
            failures=self.ledger.failures_by_reason(self.farm.theory, iteration),
            best_member=ensemble.best.index,
            threshold_ev=tuple(threshold_of(pull.selector) for pull in done),
            largest_spread_ev=tuple(float(np.max(spread, initial=0.0)) for spread in spreads),
            energy_mae_ev=tuple(errors.energy_mae_ev for errors in valid),
            energy_rmse_ev=tuple(errors.energy_rmse_ev for errors in valid),
            force_mae_ev_per_angstrom=tuple(errors.force_mae_ev_per_angstrom for errors in valid),
            barrier_ev=Estimate.of(barriers, alike=alike),
            barrier_max_ev=Estimate.of([largest_work(pull.chain.segments) for pull in done], alike=alike),
            reference_barrier_ev=Estimate.of(references, alike=alike) if references else None,
            barrier_error_ev=Estimate.of(pairs) if references else None,
            unseen_energy_mae_ev=unseen[0],
            unseen_force_mae_ev_per_angstrom=unseen[1],
            stopped=tuple(pull.chain.segments[-1].stopped for pull in done),
            tasks=dict(counts),
            seconds={stage: round(value, 3) for stage, value in self.seconds.items()},
        )

    def goal_reached(self) -> str:
        """Say why the campaign may end before its last iteration; empty if it may not."""
        stop, count = self.settings.stop, self.settings.stop.iterations
        records = self.records()[-(count + 1) :]
        recent = records[-count:]
        if stop.stop_when == "never" or len(recent) < count:
            return ""
        if stop.stop_when == "error":
            errors = [record.barrier_error_ev for record in recent if not any(record.stopped)]
            found = [self._by_system(error) for error in errors if error is not None]
            within = [error_within(values, stop.tolerance_ev) for values in np.concatenate(found)] if found else []
            return "the barrier error is within its tolerance" if len(found) == count and all(within) else ""
        if any(any(record.stopped) for record in records):
            return ""
        barriers = np.stack([self._by_system(record.barrier_ev) for record in records], axis=1)
        rests = [change_within(values, count, stop.tolerance_ev) for values in barriers]
        return "the barrier no longer changes" if all(rests) else ""

    def _by_system(self, estimate: Estimate) -> FloatArray:
        """Return (S, R) values of the replicas of each molecule and rate."""
        return np.reshape(estimate.values, (-1, self.settings.sampling.replicas))

    def _enter(self, iteration: int, stage: str) -> None:
        self.view.iteration, self.view.stage = iteration, stage
        if stage == "training":
            self.view.steps_done = self.view.steps_wanted = self.view.epoch = self.view.epochs = 0
            self.farm.new_account()

    def _count_reference_steps(self, done: int, wanted: int) -> None:
        self.view.reference_done, self.view.reference_wanted = done, wanted


def threshold_of(selector: selection.SelectorState) -> float:
    """Return the threshold that a pull was judged by; not-a-number if it ended before there was one."""
    return float("nan") if selector.threshold is None else selector.threshold


def largest_work(segments: list[Segment]) -> float:
    """Return the largest work of the spring on the way, eV; not-a-number if nothing was recorded."""
    return max((float(segment.work.max()) for segment in segments if len(segment.work)), default=float("nan"))
