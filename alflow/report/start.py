"""Section of the report about what the campaign started from."""

from __future__ import annotations

from alflow.report import page
from alflow.report.rundata import RunData
from alflow.runs.startdata import BaseNote, StartFolder, load_structures

BASE_USES = {
    "transfer": "The ensemble starts from the weights of the base, whose self-energies are moved to the labels.",
    "delta": "The ensemble learns the difference from the base, whose engine is added in every step of a pull.",
    "structures": "Nothing of its potential is taken over.",
}


def start(data: RunData) -> str:
    """Say where the first data come from, and where pulls start."""
    settings, folder = data.settings, StartFolder.of(data.run)
    engine, items = settings.labels.engine, list[str]()
    if settings.starts_from_dynamics:
        md = settings.first_data.md
        every = "each" if md.stride == 1 else f"one of {md.stride}"
        items.append(
            f"Molecular dynamics with {engine}: {md.steps} steps of {md.timestep_fs:g} fs at {md.temperature_k:g} K, "
            f"{every} of which is a label."
        )
    if folder.structures.exists():
        number = sum(len(part.frames) for part in load_structures(folder.structures))
        items.append(f"{number} structures of {settings.first_data.structures}, labelled with {engine}.")
    labels = folder.labels()
    if labels is not None:
        word = {"own": "by the user's own word", "named": "as each of them says"}[labels.word]
        items.append(f"{labels.labels} labels of {labels.file}, of the campaign's theory {word}.")
    base = folder.base()
    if base is not None:
        items += _of_base(base, engine)
    if settings.training.weights is not None:
        items.append(
            f"The ensemble starts from the weights of {settings.training.weights}, whose self-energies are moved to "
            "the labels."
        )
    if settings.sampling.relax_with == "base":
        items.append("Pulls start where the engine of the base relaxed the molecule.")
    return page.listing(items) if items else ""


def _of_base(base: BaseNote, engine: str) -> list[str]:
    structures = (
        f"{base.of_first_data + base.of_pulls} structures of a base, {base.run} ({base.engine}, theory "
        f"{base.theory[:12]}, {base.labels} labels of its own): {base.of_pulls} of its pulls in iteration "
        f"{base.iteration}, {base.of_first_data} of its first data; labelled with {engine}."
    )
    return [structures, BASE_USES[base.use]]
