"""The base of a campaign: a cheaper theory, and the run in which it explored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ase.data import chemical_symbols
from ase.formula import Formula

from alflow.campaign.plan import Molecule, Plan, make_plan
from alflow.config.campaign import CampaignSettings
from alflow.config.load import load_campaign
from alflow.errors import ConfigError, RunError
from alflow.files.targets import shown
from alflow.runs.directory import RunDirectory, load_members
from alflow.runs.startdata import StartFolder
from alflow.workers.models import EngineModel

FOLDER = "base"
"""Of a run, in which the engine of its base explores."""


@dataclass(frozen=True)
class Base:
    """A cheaper theory, and the run in which it explored or will."""

    settings: CampaignSettings
    """Of its campaign."""
    run: RunDirectory
    explores: bool
    """Whether its campaign is part of this one, and run first."""
    model: EngineModel | None = None
    """Its label engine; None where nobody asks for it."""
    theory: str = ""
    """Fingerprint of that."""
    start_seconds: float = field(default=0.0, compare=False)
    """What the first starting structure took it, s."""

    adds: bool = False
    """Whether its engine is added in every step, as the ensemble learns the difference."""

    @property
    def plan(self) -> Plan:
        """What its campaign does."""
        return make_plan(self.settings)

    @property
    def last(self) -> int:
        """The last committed iteration.

        Raises:
            ConfigError: there is none.
        """
        iterations = len(self.run.records())
        if not iterations:
            raise ConfigError(
                f"base.run: a base has explored once an iteration is committed; {shown(self.run.path)} has none. "
                "Run it first, or name its engine (base.engine)."
            )
        return iterations - 1

    @property
    def ensemble(self) -> Path:
        """Its last ensemble."""
        return self.run.iteration(self.last) / "ensemble.pt"


def find_base(plan: Plan, run: RunDirectory) -> Base | None:
    """Return the base of a campaign, checked against it, without its engine; None where it has none.

    Raises:
        ConfigError: the base is no run, is of other molecules, or cannot give what it is used for.
    """
    given = plan.settings.base
    if given is None:
        return None
    adds, folder = given.use == "delta", StartFolder.of(run)
    if given.engine is not None:
        settings = _same_structure(plan.settings.of_base(), plan.settings)
        base = Base(settings, RunDirectory(run.path / FOLDER), explores=True, adds=adds)
    elif folder.base_structures.exists():  # what was taken lies in the run; the base may have gone
        settings = load_campaign(folder.base_settings)
        return Base(settings, RunDirectory(Path(str(given.run))), explores=False, adds=adds)
    else:
        base = _finished(Path(str(given.run)), adds=adds)
    _check_use(plan, base)
    return base


def _same_structure(settings: CampaignSettings, of: CampaignSettings) -> CampaignSettings:
    """Return settings that start from the structure file that a run found in its place."""
    system = settings.system.model_copy(update={"structure": of.system.structure})
    return settings.model_copy(update={"system": system})


def _finished(path: Path, *, adds: bool) -> Base:
    """Return the base of a run directory."""
    run = RunDirectory(path)
    try:
        base = Base(run.settings(), run, explores=False, adds=adds)
    except RunError as error:
        raise ConfigError(f"base.run: {error}") from error
    if not base.ensemble.exists():
        raise ConfigError(f"base.run: a base keeps its last ensemble; {shown(base.ensemble)} is not there.")
    return base


def _check_use(plan: Plan, base: Base) -> None:
    """Refuse a base that is of something else."""
    own = plan.settings
    assert own.base is not None
    theirs = {molecule.composition: molecule for molecule in base.plan.molecules}
    name = "base.engine" if base.explores else f"base.run: {shown(base.run.path)}"
    for molecule in plan.molecules:
        found = theirs.get(molecule.composition)
        if found is None:
            have = ", ".join(map(_described, theirs.values()))
            raise ConfigError(
                f"{name}: a base is of the molecules that are pulled, their atoms in the same order, with the same "
                f"charge and spin; it has {have}, and not {_described(molecule)}."
            )
        same = base.settings.sampling.coordinate == own.sampling.coordinate
        if not same or found.steered != molecule.steered:
            raise ConfigError(
                f"{name}: a base pulls the same atoms along the same coordinate; {molecule.name} is pulled along "
                f"{own.sampling.coordinate!r} by atoms {list(molecule.steered)}, and there along "
                f"{base.settings.sampling.coordinate!r} by {list(found.steered)}."
            )
    if own.base.use != "transfer":
        return
    if base.settings.potential.kind != own.potential.kind:
        raise ConfigError(
            f"{name}: weights are carried over to a potential of the same kind; that of the campaign is "
            f"{own.potential.kind!r}, that of the base {base.settings.potential.kind!r}. Set base.use = 'structures', "
            "or choose the same kind."
        )
    members = base.settings.split.members
    if not base.explores:
        members = len(load_members(base.run.iteration(base.last) / "members.json"))
    if members < own.split.members:
        raise ConfigError(
            f"{name}: each member starts from weights of its own; split.members is {own.split.members}, and the base "
            f"has {members} members. Set split.members to {members}, or base.use = 'structures'."
        )


def _described(molecule: Molecule) -> str:
    formula = Formula.from_list([chemical_symbols[number] for number in molecule.numbers]).format("hill")
    charge = f" {molecule.composition.charge:+d}" if molecule.composition.charge else ""
    return f"{molecule.name} ({formula}{charge})"


def identity_of(base: Base | None) -> Mapping[str, str]:
    """Return what tells a base from others: the fingerprint of its theory."""
    return {"base": base.theory} if base is not None and base.theory else {}
