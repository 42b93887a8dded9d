"""The campaigns of configs/ made short: settings that say how much is done are small, those that say what are kept."""

from __future__ import annotations

from pathlib import Path

from alflow.config.load import load_campaign, to_toml

CONFIGS = Path(__file__).parent.parent.parent / "configs"
SHORT = (
    "first_data.md.steps=40",
    "first_data.md.stride=2",
    "first_data.segment_steps=20",
    "sampling.relax.langevin_steps=20",
    "sampling.relax.berendsen_steps=20",
    "sampling.pull.steps=60",
    "sampling.pull.segment_steps=30",
    "sampling.pull.rate_angstrom_per_ps=20.0",
    "training.epochs=2",
    "training.epochs_carried_over=2",
    "potential.schnet.epochs=2",
    "potential.schnet.epochs_carried_over=2",
    "potential.mace.epochs=2",
    "potential.mace.epochs_carried_over=2",
    "selection.cap=4",
    "selection.first_steps=20",
    "selection.similarity_energy_ev=0.0",
)


def campaign_files() -> list[Path]:
    """Return all campaign files of the repository."""
    return sorted(CONFIGS.rglob("*.toml"))


def write_short(source: Path, target: Path, *overrides: str) -> Path:
    """Write a short version of a campaign file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(to_toml(load_campaign(source, [*SHORT, *overrides])), encoding="utf-8")
    return target
