"""The run directory: its layout, and the files in it.

::

    campaign.toml environment.json   resolved settings; versions, git revision, host
    structure/                       the structure file that it was started from, if it was from one
    lock                             who drives this run now
    ledger.sqlite                    every label
    events.jsonl                     one line a task
    iterations.jsonl                 one line a committed iteration
    status.json                      what goes on now (for ``alflow status``)
    reference/                       pulls with the label engine, one folder a theory
    first-data/                      segments of the first molecular dynamics
    iteration-000/                   dataset.npz, ensemble.pt, members.json, pull-00/ (segments), *.xyz
    figures/ report.html parsl/

Nothing in it is unpickled: arrays are ``.npz`` without objects, weights are read with ``weights_only``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from alflow.config.campaign import CampaignSettings
from alflow.config.load import differences, load_campaign, to_toml
from alflow.errors import RunError
from alflow.files.targets import shown
from alflow.files.whole import whole_file, write_atomically
from alflow.runs.damage import COPY, whole
from alflow.runs.environment import environment
from alflow.runs.records import IterationRecord
from alflow.types import (
    Composition,
    Dataset,
    Frames,
    Group,
    Labels,
    MDState,
    Member,
    MemberErrors,
    Segment,
    Split,
    SteeringState,
)

OTHERS = ("lock", "lock.held", "site-check.json")
"""What may lie in a directory that is no campaign's yet."""
ANEW = f"{COPY}; without one, remove it and what follows it: the next `alflow run` computes them anew"


@dataclass(frozen=True)
class RunDirectory:
    """Paths of one run, and what is read from and written to them."""

    path: Path

    @property
    def ledger(self) -> Path:
        """The label ledger."""
        return self.path / "ledger.sqlite"

    @property
    def events(self) -> Path:
        """The event log."""
        return self.path / "events.jsonl"

    @property
    def figures(self) -> Path:
        """Folder of figures."""
        return self.path / "figures"

    def iteration(self, iteration: int) -> Path:
        """Return the folder of an iteration."""
        return self.path / f"iteration-{iteration:03d}"

    def open(
        self, settings: CampaignSettings, identity: Mapping[str, str] | None = None, started: Path | None = None
    ) -> None:
        """Make the directory for a campaign, or check that it is this campaign's.

        Args:
            settings: of the campaign.
            identity: what the settings alone do not say, by name: fingerprints of the label engine and the molecules.
            started: structure file of that identity, of which the run keeps a copy; the one of the settings if not
                given.

        Raises:
            RunError: it belongs to a campaign with other settings or of another identity, or is a folder of something
                else.
        """
        resolved = self.path / "campaign.toml"
        before = self._resolved() if resolved.exists() else settings
        if resolved.exists():
            changed = differences(before, settings)
            if changed:
                raise RunError(
                    f"A run directory belongs to one campaign; {self.path} was made with other settings: "
                    + "; ".join(changed)
                    + ". Choose another --run-dir, or give the settings of the first run."
                )
        elif self.path.exists() and any(item.name not in OTHERS for item in self.path.iterdir()):
            raise RunError(f"A run directory must be new or of a campaign; {self.path} holds other files.")
        self._check_identity(identity or {})
        self.figures.mkdir(parents=True, exist_ok=True)
        (self.path / "reference").mkdir(exist_ok=True)
        if before.system.structure is not None and settings.system.structure is not None:
            self._keep(Path(before.system.structure), started or Path(settings.system.structure))
        write_atomically(resolved, to_toml(settings).encode())
        write_atomically(self.path / "environment.json", json.dumps(environment(settings), indent=1).encode())
        if identity:
            known = {**self.identity(), **identity}  # of files that have gone since, what they were
            write_atomically(self.path / "identity.json", json.dumps(known, indent=1).encode())

    def _keep(self, first: Path, started: Path) -> None:
        """Keep the structure file under the name of the first one: it is the molecule's."""
        name = first.stem + started.suffix
        if not started.is_file():  # ASE reads folders, too
            return
        content = started.read_bytes()
        kept = self.kept_structure() or self.path / "structure" / name
        if not kept.exists() or kept.read_bytes() != content:
            kept.parent.mkdir(exist_ok=True)
            write_atomically(kept, content)

    def kept_structure(self) -> Path | None:
        """Return the run's own copy of the structure file that it was started from; None if it has none."""
        folder = self.path / "structure"
        files = sorted(path for path in folder.iterdir() if path.suffix != ".part") if folder.is_dir() else []
        return files[0] if files else None

    def with_kept_structure(self, settings: CampaignSettings) -> CampaignSettings:
        """Return settings that name the run's own copy of the structure file, where there is one."""
        kept = self.kept_structure()
        if kept is None or settings.system.structure is None:
            return settings
        system = settings.system.model_copy(update={"structure": str(kept.resolve())})
        return settings.model_copy(update={"system": system})

    def _check_identity(self, identity: Mapping[str, str]) -> None:
        before = self.identity()
        changed = [name for name, value in identity.items() if before.get(name, value) != value]
        if changed:
            raise RunError(
                f"All labels of a run are of one theory and of the same molecules; {self.path} was made with another "
                f"{' and another '.join(changed)} under the same settings: the label engine, its parameter files or a "
                "structure file has changed since. Go back to the versions in its environment.json and to the files of "
                "then, or choose another --run-dir."
            )

    def identity(self) -> dict[str, str]:
        """Return the fingerprints that the run was made with, by name; none where it wrote none."""
        path = self.path / "identity.json"
        if not path.exists():
            return {}
        with whole(path, f"{COPY}; without one, remove it: the next `alflow run` writes it as it finds things then"):
            found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
            return {name: str(value) for name, value in found.items()}

    def settings(self) -> CampaignSettings:
        """Return the resolved settings of this run; a structure file is the run's own copy of it."""
        if not (self.path / "campaign.toml").exists():
            raise RunError(f"A run directory holds campaign.toml; {self.path} does not. Was it made by `alflow run`?")
        return self.with_kept_structure(self._resolved())

    def _resolved(self) -> CampaignSettings:
        """Read the resolved settings.

        Raises:
            RunError: they are cut off: what is left may be settings, too, and others.
        """
        path = self.path / "campaign.toml"
        settings = load_campaign(path)
        if not path.read_bytes().endswith(b"\n"):
            raise RunError(f"A run reads what it wrote; {shown(path)} is damaged: it is cut off. {COPY}.")
        return settings

    def check_labels(self) -> None:
        """Refuse a run whose labels are gone, before a new ledger takes the place of the old one.

        Raises:
            RunError: something was learnt from labels, and the ledger is empty or not there.
        """
        learnt = (self.iteration(0) / "dataset.npz").exists() or (self.path / "iterations.jsonl").exists()
        if not learnt or (self.ledger.exists() and not (self.ledger.is_file() and self.ledger.stat().st_size == 0)):
            return
        found = "is damaged: it is empty" if self.ledger.exists() else "is not there"
        raise RunError(
            f"A run keeps the labels that it learnt from; {shown(self.ledger)} {found}. {COPY}, or start anew in "
            "another --run-dir."
        )

    def records(self) -> tuple[IterationRecord, ...]:
        """Return the committed iterations, in order; a line cut off by a crash does not count."""
        path = self.path / "iterations.jsonl"
        if not path.exists():
            return ()
        found = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                found.append(IterationRecord.from_json(line))
            except (ValueError, TypeError, KeyError):
                break
        return tuple(found)

    def unread(self) -> str:
        """Say which committed iterations cannot be read any more; empty if all can."""
        path = self.path / "iterations.jsonl"
        if not path.exists():
            return ""
        lines, done = path.read_bytes().splitlines(), len(self.records())
        if lines and done == len(lines):
            return ""
        where = f"line {done + 1} is not the record of an iteration" if lines else "it is empty"
        return (
            f"{shown(path)} is damaged: {where}. What follows is not shown; {COPY[:1].lower()}{COPY[1:]}, or run the "
            "campaign again: it writes the lines anew from the iterations' folders."
        )

    def commit(self, record: IterationRecord) -> None:
        """Add an iteration's record: the last thing that an iteration writes, whole or not at all."""
        lines = [*(done.to_json() for done in self.records()), record.to_json()]
        write_atomically(self.path / "iterations.jsonl", ("\n".join(lines) + "\n").encode())


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write named arrays to an ``.npz`` file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        np.savez(file, **{name: value for name, value in arrays.items() if value is not None})


def save_dataset(path: Path, dataset: Dataset) -> None:
    """Write a dataset: composition, positions, energies and forces of each group."""
    arrays: dict[str, Any] = {"groups": np.array(len(dataset.groups))}
    for index, group in enumerate(dataset.groups):
        arrays |= composition_arrays(group.frames.composition, f"_{index}")
        arrays[f"positions_{index}"] = group.frames.positions
        arrays[f"energies_{index}"] = group.labels.energies
        arrays[f"forces_{index}"] = group.labels.forces
    save_arrays(path, arrays)


def load_dataset(path: Path) -> Dataset:
    """Read a dataset."""
    with whole(path), np.load(path, allow_pickle=False) as data:
        return Dataset(
            tuple(
                Group(
                    Frames(composition_in(data, f"_{i}"), data[f"positions_{i}"]),
                    Labels(data[f"energies_{i}"], data[f"forces_{i}"]),
                )
                for i in range(int(data["groups"]))
            )
        )


def save_state(path: Path, state: MDState) -> None:
    """Write the state between two segments."""
    save_arrays(path, _state_arrays(state))


def load_state(path: Path) -> MDState:
    """Read the state between two segments."""
    with whole(path, ANEW), np.load(path, allow_pickle=False) as data:
        return _state_from(data)


def save_segment(path: Path, segment: Segment) -> None:
    """Write a segment and its end state."""
    plain = {f.name: getattr(segment, f.name) for f in fields(segment) if f.name not in ("frames", "end", "stopped")}
    frames = {**composition_arrays(segment.frames.composition), "positions": segment.frames.positions}
    save_arrays(path, {**plain, **frames, "stopped": np.array(segment.stopped), **_state_arrays(segment.end)})


def load_segment(path: Path) -> Segment:
    """Read a segment and its end state."""
    with whole(path, ANEW), np.load(path, allow_pickle=False) as data:
        names = {f.name for f in fields(Segment)} - {"frames", "end", "stopped"}
        return Segment(
            frames=Frames(composition_in(data), data["positions"]),
            end=_state_from(data),
            stopped=str(data["stopped"]),
            **{name: array for name in names if (array := stored_array(data, name)) is not None},
        )


def composition_arrays(composition: Composition, ending: str = "") -> dict[str, Any]:
    """Return what tells a composition, as named arrays."""
    return {
        f"numbers{ending}": composition.numbers,
        f"charge{ending}": np.array(composition.charge),
        f"multiplicity{ending}": np.array(composition.multiplicity),
    }


def composition_in(data: Any, ending: str = "") -> Composition:
    """Return the composition in an open file; one that names no spin is of the time when it was always the lowest."""
    spin = int(data[f"multiplicity{ending}"]) if f"multiplicity{ending}" in data else 0
    return Composition(data[f"numbers{ending}"], int(data[f"charge{ending}"]), spin)


def stored_array(segment: Any, name: str) -> Any:
    """Return one array of an open file of a segment, under the name that it has now or had once; None if absent."""
    earlier = {"target": "target_distance", "coordinate": "distance"}
    found = name if name in segment else earlier.get(name, name)
    return segment.get(found)


def _state_arrays(state: MDState) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        "end_step": np.array(state.step),
        "end_positions": state.positions,
        "end_velocities": state.velocities,
        "end_start": state.start,
        "end_above": np.array(state.above),
    }
    if state.steering is not None:
        arrays["spring"] = np.array([state.steering.target, state.steering.work])
        arrays["spring_opaque"] = np.frombuffer(state.steering.opaque, dtype=np.uint8)
    return arrays


def _state_from(data: Any) -> MDState:
    steering = None
    if "spring" in data:
        target, work = data["spring"].tolist()
        steering = SteeringState(target, work, data["spring_opaque"].tobytes())
    state = MDState(int(data["end_step"]), data["end_positions"], data["end_velocities"], steering)
    if "end_start" in data:
        state = replace(state, start=data["end_start"])
    return replace(state, above=int(data["end_above"])) if "end_above" in data else state


def save_members(path: Path, members: tuple[Member, ...]) -> None:
    """Write what was learnt about each member, its split included."""

    def plain(member: Member) -> dict[str, Any]:
        split = {"train": member.split.train.tolist(), "valid": member.split.valid.tolist()}
        return {**asdict(replace(member, split=None)), "split": split}  # type: ignore[arg-type]

    write_atomically(path, json.dumps([plain(member) for member in members]).encode())


def load_members(path: Path) -> tuple[Member, ...]:
    """Read what was learnt about each member."""

    def member(data: dict[str, Any]) -> Member:
        errors = {name: MemberErrors(**data[name]) for name in ("train_errors", "valid_errors", "all_errors")}
        split = Split(*(np.array(data["split"][part], dtype=np.int64) for part in ("train", "valid")))
        return Member(index=data["index"], split=split, best_epoch=data["best_epoch"], epochs=data["epochs"], **errors)

    with whole(path, f"{COPY}; without one, remove it: members that no iteration was committed with are trained anew"):
        return tuple(member(data) for data in json.loads(path.read_text(encoding="utf-8")))
