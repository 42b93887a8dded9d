"""Structures of a base that are worth an expensive label: few, unlike each other, along the whole way of its pulls."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import numpy as np

from alflow.acquisition.batch import along_the_way, farthest_points, windows_of
from alflow.acquisition.plausibility import PlausibilityRule, plausible
from alflow.campaign.assessing import Assessor
from alflow.campaign.basetheory import Base
from alflow.campaign.batch import WINDOWS, EndedPull
from alflow.campaign.campaign import Campaign
from alflow.config.load import to_toml
from alflow.errors import ConfigError
from alflow.files.whole import write_atomically
from alflow.ledger import LedgerReader
from alflow.runs.directory import load_segment
from alflow.runs.startdata import BaseNote, NumberedFrames, StartFolder, load_structures, save_structures
from alflow.types import Composition, Dataset, FloatArray, Frames, IntArray
from alflow.workers.models import EnsembleModel

CANDIDATES = 2000
"""Frames of all pulls of a molecule that are looked at, at most; and of its first data."""
PULLS = 32
"""Pulls of a molecule that are looked at, at most: replicas repeat each other."""


def base_structures(campaign: Campaign) -> tuple[NumberedFrames, ...]:
    """Return the structures of the base that are labelled as first data; they are chosen once a run, and kept.

    Their numbers follow those of the structures that a file gives.

    Raises:
        CampaignError: they could not be assessed.
    """
    base, folder = campaign.base, StartFolder.of(campaign.run)
    if base is None:
        return ()
    if not folder.base_structures.exists():
        folder.path.mkdir(parents=True, exist_ok=True)
        note, parts = _chosen(campaign, base)
        write_atomically(folder.base_settings, to_toml(base.settings).encode())
        part = folder.base_ensemble.with_name("base.pt.part")
        shutil.copyfile(base.ensemble, part)
        part.replace(folder.base_ensemble)
        folder.keep_base(note)
        save_structures(folder.base_structures, parts)
    return load_structures(folder.base_structures)


@dataclass(frozen=True)
class _Candidates:
    """F structures of one molecule."""

    frames: Frames
    window: IntArray
    """(F,) windows that take turns; what is of the first data is in the last one."""
    of_pulls: int
    """The first so many are of pulls."""


def _chosen(campaign: Campaign, base: Base) -> tuple[BaseNote, tuple[NumberedFrames, ...]]:
    """Choose structures, for each molecule that is pulled an equal share of them."""
    given = campaign.settings.base
    assert given is not None
    compositions = list(dict.fromkeys(molecule.composition for molecule in campaign.plan.molecules))
    candidates = [_candidates(campaign, base, composition) for composition in compositions]
    assessor = Assessor(campaign, 0, EnsembleModel(str(base.ensemble), "mean"), Dataset(()))
    features = assessor.features([one.frames for one in candidates])
    share, rest = divmod(given.structures, len(compositions))
    first, parts, of_pulls, total = campaign.given.frames, list[NumberedFrames](), 0, 0
    for place, (one, known) in enumerate(zip(candidates, features, strict=True)):
        rows = _farthest(known, share + (place < rest), one.window)
        of_pulls += int(np.count_nonzero(rows < one.of_pulls))
        parts.append(NumberedFrames(one.frames.take(rows), np.arange(first + total, first + total + len(rows))))
        total += len(rows)
    with LedgerReader.open(base.run.ledger) as ledger:
        labels, theory = ledger.counts().labelled, ledger.theories()[0]
    engine, name = base.settings.labels.engine, str(base.run.path)
    return BaseNote(name, engine, theory, base.last, labels, total - of_pulls, of_pulls, given.use), tuple(parts)


def _farthest(features: FloatArray, places: int, window: IntArray) -> IntArray:
    """Choose rows that differ most, by ascending row."""
    nothing = np.empty((0, features.shape[1]))
    return np.sort(farthest_points(features, nothing, places, window))


def _candidates(campaign: Campaign, base: Base, composition: Composition) -> _Candidates:
    """Return what the base has of a molecule: frames of its last pulls, and of its first data.

    Frames of earlier pulls are left out: those of a potential that knew little are far from everything, and would be
    chosen for it.
    """
    chosen = campaign.settings.selection
    rule = PlausibilityRule(chosen.largest_nearest_angstrom, chosen.smallest_nearest_angstrom)
    pulls = _pulls(base, composition, rule)
    share = max(1, CANDIDATES // max(len(pulls), 1))
    rows = [pull.fit[along_the_way(pull.progress[pull.fit], WINDOWS, share)] for pull in pulls]
    pulled = [pull.frames.positions[row] for pull, row in zip(pulls, rows, strict=True)]
    progress = np.concatenate([np.empty(0), *(pull.progress[row] for pull, row in zip(pulls, rows, strict=True))])
    first = _first_data(base, composition, rule)
    positions = np.concatenate([*pulled, first])
    if not len(positions):
        raise ConfigError(f"base.run: a base has structures to label; {base.run.path} has none that are plausible.")
    own_window = np.full(len(first), chosen.windows, dtype=np.int64)
    window = np.concatenate([windows_of(progress, chosen.windows), own_window])
    return _Candidates(Frames(composition, positions), window, len(progress))


def _pulls(base: Base, composition: Composition, rule: PlausibilityRule) -> list[EndedPull]:
    """Return the pulls of a molecule in the base's last iteration."""
    plan, folder = base.plan, base.run.iteration(base.last)
    specs = plan.pulls_of(base.run.records()[-1].replicas)
    found = [spec for spec in specs if spec.molecule.composition == composition]
    pulls = []
    for spec in found[:PULLS]:
        files = sorted((folder / f"pull-{spec.index:02d}").glob("segment-*.npz"))
        pulls.append(EndedPull.of(spec, [load_segment(file) for file in files], rule))
    return pulls


def _first_data(base: Base, composition: Composition, rule: PlausibilityRule) -> FloatArray:
    """Return the positions (F, A, 3) of a molecule in the base's first data."""
    parts: list[FloatArray] = []
    with LedgerReader.open(base.run.ledger) as ledger:
        for theory in ledger.theories():
            dataset, _ = ledger.dataset(theory, 0, kinds=("import", "first-data"))
            parts += [group.frames.positions for group in dataset.groups if group.frames.composition == composition]
    positions = np.concatenate([np.empty((0, len(composition), 3)), *parts])
    positions = positions[plausible(positions, rule)] if len(positions) else positions
    places = min(len(positions), CANDIDATES)
    return positions[(2 * np.arange(places) + 1) * len(positions) // (2 * max(places, 1))]
