"""The campaigns and pulls that figures are made from: run once, found again afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alflow.campaign.chain import StoredState
from alflow.campaign.launch import launch
from alflow.campaign.plan import PullSpec, segment_lengths
from alflow.campaign.reference import pull_chain, relaxation
from alflow.config.campaign import CampaignSettings
from alflow.config.load import load_campaign
from alflow.display.view import Display
from alflow.errors import ConfigError
from alflow.execution.graph import TaskGraph
from alflow.execution.sites import find_site, load_site
from alflow.files.resources import resource_folders
from alflow.labeling import make_engine
from alflow.paper.members import driver_of
from alflow.report.curves import stored_segments
from alflow.report.report import refresh_report
from alflow.runs.directory import RunDirectory, load_state
from alflow.runs.events import EventLog
from alflow.runs.lock import RunLock
from alflow.types import Segment
from alflow.workers.models import EngineModel, EnsembleModel, ModelReference
from alflow.workers.result import App
from alflow.workers.tasks import PULL_SEGMENT, REFERENCE_SEGMENT, State

QUICK = (
    "iterations=3",
    "first_data.md.steps=999",
    "first_data.md.stride=4",
    'training.preset="fast"',
    'training.start="fresh"',
    "training.epochs=60",
    'potential.schnet.preset="fast"',
    "potential.schnet.epochs=40",
    "sampling.pull.steps=2600",
    "sampling.pull.rate_angstrom_per_ps=2.5",
    "sampling.pull.segment_steps=650",
    "selection.first_steps=400",
    "selection.cap=20",
)
"""What the reduced version changes."""
QUICK_WORDS = (
    "Reduced version: three iterations, 250 first frames, 60 epochs of the fast training, 20 frames an iteration, and "
    "pulls at 2.5 Å/ps instead of 1, which cost more work."
)

UNSEEN_START = 1000
"""Number of the first velocity seed that no campaign of the figures pulls from."""


@dataclass(frozen=True)
class Runs:
    """Where runs lie and on what site they are made."""

    folder: Path
    site: str
    options: Mapping[str, str]
    display: Display
    quick: bool

    def settings(self, name: str, overrides: Sequence[str] = ()) -> CampaignSettings:
        """Return the settings of one of the campaigns in ``configs``, reduced where the quick version is asked for.

        Args:
            name: Path below ``configs`` without suffix, such as paper/fig3.
            overrides: Settings as on the command line; they win.
        """
        path = _campaign_file(name)
        return load_campaign(path, (*(QUICK if self.quick else ()), *overrides))

    def campaign(
        self,
        name: str,
        overrides: Sequence[str] = (),
        label: str = "",
        prepare: Callable[[RunDirectory], None] = lambda _: None,
    ) -> RunDirectory:
        """Return a finished campaign; run it, or go on with it, if it is not.

        Args:
            name: See `settings`.
            overrides: See `settings`.
            label: Name of the run, if not the campaign's.
            prepare: Called with the new run directory before the campaign starts for the first time.
        """
        settings = self.settings(name, overrides)
        if label:
            settings = settings.model_copy(update={"name": label})
        run = RunDirectory((self.folder / settings.name).resolve())
        done = len(run.records())
        if done < settings.iterations:
            self.display.note(f"Campaign {settings.name}: {done} of {settings.iterations} iterations are there.")
            prepared = run.path / "prepared"
            if not prepared.exists():
                with RunLock(run.path):
                    run.open(settings)
                self._borrow(run, settings)
                prepare(run)
                prepared.touch()
            launch(settings, self.site, self.options, run.path, self.display, refresh_report)
        return run

    def _borrow(self, run: RunDirectory, settings: CampaignSettings) -> None:
        """Take trajectories of the label engine from finished campaigns that would compute the same ones."""
        for folder, part in (("reference", _reference_part), ("first-data", _first_data_part)):
            for other in sorted(self.folder.glob("*/iterations.jsonl")):
                source = RunDirectory(other.parent)
                if source.records() and part(source.settings()) == part(settings):
                    shutil.copytree(source.path / folder, run.path / folder, copy_function=_link, dirs_exist_ok=True)
                    break

    def engine_pulls(self, name: str, settings: CampaignSettings, specs: Sequence[PullSpec]) -> list[list[Segment]]:
        """Return pulls with the label engine, each from a start relaxed with it."""
        labels, folder = settings.labels, self.folder / name
        model = EngineModel(labels.engine, labels.settings.model_dump(mode="json"))

        def start(graph: TaskGraph, spec: PullSpec) -> State:
            state = StoredState(graph, folder / file_name(spec) / "start.npz")
            return state.get(relaxation(settings, spec, model))

        return self._pulls(folder, specs, model, REFERENCE_SEGMENT, start)

    def ensemble_pulls(
        self, name: str, settings: CampaignSettings, specs: Sequence[PullSpec], ensemble: Path, starts: str
    ) -> list[list[Segment]]:
        """Return pulls with an ensemble, driven as the settings say, from the starts of `engine_pulls(starts, ...)`."""
        model = EnsembleModel(str(ensemble), driver_of(settings, ensemble))

        def start(_: TaskGraph, spec: PullSpec) -> State:
            return replace(load_state(self.folder / starts / file_name(spec) / "start.npz"), start=None)

        return self._pulls(self.folder / name, specs, model, PULL_SEGMENT, start)

    def _pulls(
        self,
        folder: Path,
        specs: Sequence[PullSpec],
        model: ModelReference,
        app: App[..., Segment],
        start: Callable[[TaskGraph, PullSpec], State],
    ) -> list[list[Segment]]:
        folders = [folder / file_name(spec) for spec in specs]
        lengths = [segment_lengths(spec.settings.steps, spec.settings.segment_steps) for spec in specs]
        found = [stored_segments(path) for path in folders]
        if all(len(f) == len(n) or (f and f[-1].stopped) for f, n in zip(found, lengths, strict=True)):
            return found
        self.display.note(f"{folder.name}: {len(specs)} pulls.")
        with self._graph(folder) as graph:
            chains = []
            for spec, path in zip(specs, folders, strict=True):
                chain = pull_chain(graph, app, path, spec, model)
                chain.start(start(graph, spec))
                chains.append(chain)
            graph.run_until(lambda: all(chain.done for chain in chains))
        for spec, chain in zip(specs, chains, strict=True):
            chain.raise_error(f"The pull of {spec.name} in {folder}")
        return [chain.segments for chain in chains]

    @contextmanager
    def _graph(self, folder: Path) -> Iterator[TaskGraph]:
        """Open the site for tasks outside a campaign."""
        with RunLock(folder):
            events = EventLog(folder / "events.jsonl")
            graph = TaskGraph(load_site(find_site(self.site), folder, self.options), events)
            try:
                yield graph
            finally:
                graph.close()
                events.close()


def file_name(spec: PullSpec) -> str:
    """Return the name of a pull's folder."""
    return f"{spec.molecule.name}-replica-{spec.replica}-rate-{spec.settings.rate_angstrom_per_ps:g}"


def _link(source: str, target: str) -> None:
    """Give a file a second name; run directories replace files and never change them."""
    if not Path(target).exists():
        Path(target).hardlink_to(source)


def _first_data_part(settings: CampaignSettings) -> tuple[Any, ...]:
    """Return all that the first data depend on."""
    theory = make_engine(settings.labels.engine, settings.labels.settings).theory
    return theory, settings.seed, settings.system, settings.first_data


def _reference_part(settings: CampaignSettings) -> tuple[Any, ...]:
    """Return all that the reference pulls depend on."""
    sampling = settings.sampling
    theory = make_engine(settings.labels.engine, settings.labels.settings).theory
    plan = (sampling.relax, sampling.pull, sampling.replicas, sampling.rates_angstrom_per_ps, sampling.reference)
    return theory, settings.seed, settings.system, plan


def _campaign_file(name: str) -> Path:
    for folder in resource_folders("configs"):
        path = folder / f"{name}.toml"
        if path.is_file():
            return path
    raise ConfigError(
        f"A figure needs its campaign file; configs/{name}.toml is neither here nor in the installed copy."
    )
