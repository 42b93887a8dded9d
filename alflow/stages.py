"""The stages of an iteration, each of which finds on disk what an earlier run already did."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from alflow.analysis.trajectories import write_selected, write_trajectory
from alflow.config.campaign import CampaignSettings
from alflow.errors import CampaignError
from alflow.farm import LabelFarm
from alflow.graph import TaskGraph
from alflow.learning import selection
from alflow.learning.augmentation import jitter
from alflow.learning.seeds import generator, integer_seed, seed_sequence
from alflow.learning.splits import inherited_split_of_groups, random_split
from alflow.learning.stopping import change_within, error_within
from alflow.ledger import Ledger, Origin, OriginKind, label_rows
from alflow.plan import PullSpec, molecules, pulls, segment_lengths
from alflow.potentials import join_files
from alflow.progress import View
from alflow.records import Estimate, IterationRecord
from alflow.rundir import RunDirectory, load_members, save_dataset, save_members
from alflow.tasks import EarlyStop, EnsembleModel, ModelReference, Outcome
from alflow.thresholds import Judge
from alflow.trajectories import SegmentChain, StoredState
from alflow.types import Dataset, Frames, LabelBatch, Labels, Member, Segment, SelectedFrame, Split


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
class Reference:
    """A pull with the label engine: the same start, the same velocities."""

    spec: PullSpec
    start: StoredState
    chain: SegmentChain

    def done(self) -> bool:
        """Say whether it has ended, well or not."""
        return self.chain.done or self.start.error is not None


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
    references: list[Reference] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def records(self) -> tuple[IterationRecord, ...]:
        """Return the committed iterations."""
        return self.run.records()

    # ---- start points and references -------------------------------------------------------------------------------

    def start_reference(self) -> None:
        """Relax the molecules with the label engine, and start the reference pulls; nothing waits for them yet."""
        folder = self.run.path / "reference" / self.farm.theory[:12]
        for spec in pulls(self.settings):
            start = StoredState(self.graph, folder / f"start-{spec.index:02d}.npz")
            chain = self._chain("reference-segment", folder / f"pull-{spec.index:02d}", spec, self.farm.model)
            self.references.append(Reference(spec, start, chain))
            if self._needs_reference():
                state = start.get("relax", *self._relax_arguments(spec, self.farm.model), pull=spec.index)
                if self.settings.sampling.reference:
                    chain.start(state)

    def _needs_reference(self) -> bool:
        return self.settings.sampling.reference or self.settings.sampling.relax_with == "label-engine"

    def _relax_arguments(self, spec: PullSpec, model: ModelReference) -> tuple[Any, ...]:
        """Velocities depend on the replica alone: the same in every iteration and in the reference."""
        molecule = spec.molecule
        seed = self._words(0, "velocities", spec.replica, len(molecule.numbers))
        relaxation = self.settings.sampling.relax
        return model, molecule.numbers, molecule.positions, molecule.pair, relaxation, seed, molecule.charge

    def _words(self, iteration: int, stage: str, *index: int) -> tuple[int, ...]:
        words = seed_sequence(self.settings.seed, iteration, stage, *index).generate_state(4)
        return tuple(int(word) for word in words)

    def _chain(
        self,
        what: str,
        folder: Path,
        spec: PullSpec,
        model: ModelReference,
        early_stop: EarlyStop | None = None,
        **detail: Any,
    ) -> SegmentChain:
        molecule = spec.molecule

        def arguments(previous: Any, steps: int) -> tuple[Any, ...]:
            return model, molecule.numbers, previous, molecule.pair, spec.settings, steps, early_stop, molecule.charge

        lengths = segment_lengths(spec.settings.steps, spec.settings.segment_steps)
        return SegmentChain(self.graph, folder, what, lengths, arguments, detail={"pull": spec.index, **detail})

    # ---- first data --------------------------------------------------------------------------------------------------

    def first_data(self) -> None:
        """Run molecular dynamics with the label engine; its frames, energies and forces are the first labels."""
        self._enter(0, "first data")
        md, chains = self.settings.first_data.md, []
        for index, molecule in enumerate(molecules(self.settings)):
            folder = self.run.path / "first-data" / molecule.name
            seed = integer_seed(self.settings.seed, 0, "first-data", index)

            def arguments(previous: Any, steps: int, *, of: Any = molecule, seed: int = seed) -> tuple[Any, ...]:
                return self.farm.model, of.numbers, previous, md, steps, seed, of.charge

            steps = md.equilibration_steps + md.steps
            lengths = segment_lengths(steps, self.settings.first_data.segment_steps)
            chain = SegmentChain(
                self.graph, folder, "md-segment", lengths, arguments, detail={"molecule": molecule.name}
            )
            state = StoredState(self.graph, folder / "start.npz")
            words = self._words(0, "first-velocities", index)
            chain.start(state.get("first-state", molecule.numbers, molecule.positions, md.temperature_k, words))
            chains.append((molecule, chain))
        self.graph.run_until(lambda: all(chain.done for _, chain in chains))
        for index, (molecule, chain) in enumerate(chains):
            chain.raise_error(f"The first molecular dynamics of {molecule.name}")
            self._keep_first_labels(index, chain.segments)
        self.ledger.commit()

    def _keep_first_labels(self, replica: int, segments: list[Segment]) -> None:
        skip = self.settings.first_data.md.equilibration_steps
        for segment in segments:
            if segment.stopped:
                raise CampaignError(f"The first molecular dynamics ended early: {segment.stopped}")
            sampled = np.flatnonzero(segment.steps >= skip)
            rows = sampled[self.ledger.lookup(self.farm.theory, segment.frames.take(sampled)).missing]
            frames, forces = segment.frames.take(rows), segment.forces
            assert forces is not None
            origins = [Origin("first-data", 0, replica, int(segment.steps[row])) for row in rows]
            none = np.zeros(len(rows))
            labels = Labels(segment.energy[rows], forces[rows])
            batch = LabelBatch(np.arange(len(rows)), labels, (), none, np.full(len(rows), -1))
            self.ledger.add(label_rows(self.farm.theory, frames, batch, origins, "", time.time()))

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
        results: list[Outcome | BaseException] = []
        missing = [number for number, file in enumerate(files) if not file.exists()]
        for number in missing:
            self.graph.submit(
                "train",
                str(folder / "dataset.npz"),
                splits,
                groups[number],
                settings.potential,
                settings.training,
                self._words(iteration, "training"),
                initial,
                str(files[number]),
                handler=results.append,
                iteration=iteration,
                members=len(groups[number]),
            )
        self.graph.run_until(lambda: len(results) == len(missing))
        for result in results:
            if isinstance(result, BaseException):
                raise CampaignError(f"Training failed: {type(result).__name__}: {result}") from result
        join_files(files, folder / "ensemble.pt")
        return tuple(member for file in files for member in load_members(file.with_suffix(".json")))

    def _split(self, iteration: int, dataset: Dataset, member: int) -> Split:
        rng = generator(self.settings.seed, iteration, "split", member)
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
        budgets = selection.share_budget(self.settings.selection.cap, len(specs))
        running = [
            self._start_pull(iteration, spec, model, judge, cap) for spec, cap in zip(specs, budgets, strict=True)
        ]
        self.view.steps_wanted = sum(sum(pull.chain.lengths) for pull in running)
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

    def _start_pull(self, iteration: int, spec: PullSpec, model: EnsembleModel, judge: Judge, cap: int) -> Pull:
        folder = self.run.iteration(iteration)
        early_stop = judge.early_stop()
        chain = self._chain(
            "pull-segment", folder / f"pull-{spec.index:02d}", spec, model, early_stop, iteration=iteration
        )
        pull = Pull(spec, chain, selection.start(judge.rule(spec.settings.steps, cap), spec.index))
        chain.on_segment = lambda segment: self._select(iteration, pull, judge.with_chosen_spread(segment))
        if self.settings.sampling.relax_with == "label-engine":
            reference = self.references[spec.index]
            self.graph.run_until(lambda: reference.start.value is not None or reference.start.error is not None)
            if reference.start.error is not None:
                raise CampaignError(f"The relaxation of {spec.name} failed: {reference.start.error}")
            assert reference.start.value is not None
            chain.start(replace(reference.start.value, start=None))
        else:
            state = StoredState(self.graph, folder / f"start-{spec.index:02d}.npz")
            arguments = self._relax_arguments(spec, model)
            chain.start(state.get("relax-with-potential", *arguments, pull=spec.index, iteration=iteration))
        return pull

    def _select(self, iteration: int, pull: Pull, segment: Segment) -> None:
        """Feed one segment to the selector, and ask for labels of what it picks."""
        pull.selector, picked = selection.step(pull.selector, segment)
        if pull.chain.done and not pull.closed:
            pull.closed = True
            pull.selector, last = selection.finish(pull.selector)
            picked = (*picked, *last)
        self.view.steps_done += len(segment.steps)
        self.view.work_ev = float(segment.work[-1]) if len(segment.work) else self.view.work_ev
        if picked:
            pull.selected.extend(picked)
            self._ask_for_labels(iteration, pull.spec, picked)

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
        """Write the trajectories and, last and whole, the record of the iteration."""
        self._enter(iteration, "reference" if not self._references_done() else "commit")
        self.graph.run_until(self._references_done)
        self._enter(iteration, "commit")
        folder = self.run.iteration(iteration)
        for pull in done:
            write_trajectory(folder / f"pull-{pull.spec.index:02d}.xyz", pull.chain.segments)
        write_selected(folder / "selected.xyz", [(pull.spec.molecule, pull.selected) for pull in done])
        record = self._record(iteration, ensemble, done)
        self.run.commit(record)
        self.view.records = list(self.records())
        self.seconds = {}

    def _references_done(self) -> bool:
        return not self.settings.sampling.reference or all(reference.done() for reference in self.references)

    def _reference_barriers(self) -> list[float]:
        found = []
        for reference in self.references if self.settings.sampling.reference else []:
            error = reference.start.error or reference.chain.error
            if error is not None:
                self.say(f"The reference pull of {reference.spec.name} failed: {error}")
            found.append(float("nan") if error is not None else barrier(reference.chain.segments))
        return found

    def _record(self, iteration: int, ensemble: Trained, done: list[Pull]) -> IterationRecord:
        barriers = [barrier(pull.chain.segments) for pull in done]
        references = self._reference_barriers()
        pairs = [pulled - reference for pulled, reference in zip(barriers, references, strict=False)]
        judge = Judge(self.settings, ensemble.path, ensemble.dataset, ensemble.best)
        unseen = judge.unseen_errors([r.chain.segments for r in self.references]) if references else (None, None)
        valid = [member.valid_errors for member in ensemble.members]
        spreads = [np.concatenate([segment.spread for segment in pull.chain.segments]) for pull in done]
        counts = Counter(name.split(":")[0] for name in self.graph.counts.elements())
        selected = sum(len(pull.selected) for pull in done)
        return IterationRecord(
            iteration=iteration,
            labels=len(ensemble.dataset),
            selected=selected,
            new_labels=self.farm.done - self.farm.failed,
            failures=self.ledger.failures_by_reason(self.farm.theory, iteration),
            best_member=ensemble.best.index,
            threshold_ev=tuple(pull.selector.threshold or float("nan") for pull in done),
            largest_spread_ev=tuple(float(np.max(spread, initial=0.0)) for spread in spreads),
            energy_mae_ev=tuple(errors.energy_mae_ev for errors in valid),
            energy_rmse_ev=tuple(errors.energy_rmse_ev for errors in valid),
            force_mae_ev_per_angstrom=tuple(errors.force_mae_ev_per_angstrom for errors in valid),
            barrier_ev=Estimate.of(barriers),
            barrier_max_ev=Estimate.of([largest_work(pull.chain.segments) for pull in done]),
            reference_barrier_ev=Estimate.of(references) if references else None,
            barrier_error_ev=Estimate.of(pairs) if references else None,
            unseen_energy_mae_ev=unseen[0],
            unseen_force_mae_ev_per_angstrom=unseen[1],
            stopped=tuple(pull.chain.segments[-1].stopped for pull in done),
            tasks=dict(counts),
            seconds={stage: round(value, 3) for stage, value in self.seconds.items()},
        )

    def goal_reached(self) -> str:
        """Say why the campaign may end before its last iteration; empty if it may not."""
        stop, records = self.settings.stop, self.records()
        if stop.stop_when == "error":
            recent = [record.barrier_error_ev for record in records[-stop.iterations :]]
            within = [error is not None and error_within(np.array(error.values), stop.tolerance_ev) for error in recent]
            return "the barrier error is within its tolerance" if len(within) == stop.iterations and all(within) else ""
        if stop.stop_when == "change" and records:
            barriers = np.array([record.barrier_ev.values for record in records])
            rests = change_within(barriers, stop.iterations, stop.tolerance_ev)
            return "the barrier no longer changes" if rests else ""
        return ""

    def _enter(self, iteration: int, stage: str) -> None:
        self.view.iteration, self.view.stage = iteration, stage
        if stage == "training":
            self.view.steps_done = self.view.steps_wanted = 0


def barrier(segments: list[Segment]) -> float:
    """Return the work of the spring at the end of a pull, eV."""
    return float(segments[-1].work[-1])


def largest_work(segments: list[Segment]) -> float:
    """Return the largest work of the spring on the way, eV."""
    return float(max(segment.work.max() for segment in segments if len(segment.work)))
