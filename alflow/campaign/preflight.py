"""Checks before anything is submitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

from alflow.campaign.basetheory import Base
from alflow.campaign.plan import Molecule, Plan
from alflow.campaign.way import way_of
from alflow.config.campaign import LabelSettings
from alflow.config.plugins import COORDINATES, POTENTIALS, find_installed
from alflow.errors import ConfigError
from alflow.labeling import make_engine
from alflow.labeling.frames import label_frames
from alflow.labeling.guard import GuardedEngine
from alflow.labeling.protocol import LabelEngine
from alflow.types import Frames
from alflow.workers.models import EngineModel
from alflow.workers.selftest import Canary, make_canary


def check_campaign(plan: Plan) -> LabelEngine:
    """Find all that the campaign needs, make the label engine, and label each structure once.

    Returns:
        The engine; guarded as on the workers, so that an engine that hangs does not hang the driver.

    Raises:
        InputError: something is not installed, the engine cannot be made, an element is unknown, a file is missing.
    """
    labels = plan.settings.labels
    potential = plan.settings.potential
    elements = sorted({int(number) for molecule in plan.molecules for number in molecule.composition.numbers})
    find_installed(POTENTIALS, potential.kind).check(potential.settings, elements)
    find_installed(COORDINATES, plan.settings.sampling.coordinate)
    _check_variables(plan)
    _check_progress(plan)
    return check_engine(labels, plan.molecules)


def check_engine(labels: LabelSettings, molecules: Sequence[Molecule]) -> LabelEngine:
    """Make a label engine, guarded as on the workers where the settings say so, and label each structure once.

    Raises:
        InputError: it cannot be made, or cannot label a structure.
    """
    engine: LabelEngine
    if labels.guard:
        given = labels.settings.model_dump(mode="json")
        engine = GuardedEngine(labels.engine, given, labels.timeout_s, labels.memory_gb)
    else:
        engine = make_engine(labels.engine, labels.settings)
    for molecule in molecules:
        batch = label_frames(engine, Frames(molecule.composition, molecule.positions[None]))
        for failure in batch.failures:
            raise ConfigError(
                f"system: the label engine must be able to label every starting structure; {labels.engine} "
                f"cannot label {molecule.name}: {failure.reason}: {failure.detail}"
            )
    return engine


def check_base(plan: Plan, base: Base) -> Base:
    """Return the base with its label engine, where anybody asks for it.

    Raises:
        InputError: the engine cannot be made, or cannot label a structure; its campaign cannot be run.
    """
    if base.explores:
        engine = check_campaign(base.plan)
    elif plan.settings.sampling.relax_with == "base" or base.adds:
        engine = check_engine(base.settings.labels, plan.molecules)
    else:
        return base
    model, canary = engine_model(base.settings.labels, plan.molecules[0], engine)
    return replace(base, model=model, theory=engine.theory, start_seconds=canary.seconds)


def engine_model(labels: LabelSettings, molecule: Molecule, engine: LabelEngine) -> tuple[EngineModel, Canary]:
    """Return what workers need to make a label engine, and the label by which they verify it."""
    canary = make_canary(engine, molecule.composition, molecule.positions, labels.canary_tolerance_ev)
    known = tuple(getattr(canary, part.name) for part in fields(canary))
    timeout_s = labels.timeout_s if labels.guard else 0.0
    settings = labels.settings.model_dump(mode="json")
    return EngineModel(labels.engine, settings, timeout_s, labels.memory_gb, known), canary


def _check_variables(plan: Plan) -> None:
    """Start each molecule dry where Colvars steers."""
    if plan.settings.sampling.bias is None:
        return
    from alflow.sampling.colvars.drystart import check_start  # noqa: PLC0415 - few campaigns need it

    for molecule in plan.molecules:
        check_start(molecule.steering, plan.settings.sampling.pull)


def _check_progress(plan: Plan) -> None:
    """Refuse to go by the progress of a coordinate that is not taken anywhere."""
    if plan.settings.selection.cap_order != "progress":
        return
    still = [spec for spec in plan.pulls if way_of(spec).direction == 0.0]
    if still:
        raise ConfigError(
            f"selection.cap_order 'progress' is for coordinates that are taken from one place to another; that of "
            f"{still[0].name} is not. Take 'spread', which counts time."
        )
