"""What does a cheaper theory save? GFN2-xTB from nothing, and over DFTB3: structures alone, weights, the difference.

``python benchmarks/base_theory.py [--quick] [--seeds 1 2 3] [--only VARIANT ...] [--folder DIR] [--json FILE]``

The campaign is ``configs/gfn2-over-dftb3.toml``. For each seed DFTB3 explores once; then come

    from nothing   as many first labels, from molecular dynamics with GFN2-xTB
    structures     first labels and starts of the base; fresh weights
    transfer       the same, and the weights of the base
    delta          the same; the difference is learnt, and DFTB3 added in every step

Printed are, by iteration, the labels learnt from, the errors along the reference pulls, which nobody learns from, and
the paired error of the barrier. What lies in `--folder` is gone on with. Variants over a base share reference pulls.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from alflow.campaign.launch import launch
from alflow.config.campaign import CampaignSettings
from alflow.config.load import load_campaign
from alflow.display.progress import PlainDisplay
from alflow.files.resources import find_campaign
from alflow.runs.directory import RunDirectory
from alflow.runs.environment import environment
from alflow.runs.lock import RunLock

VARIANTS = ("from nothing", "structures", "transfer", "delta")
QUICK = (
    "system.carbons=[2]",
    "first_data.md.steps=40",
    "first_data.md.stride=2",
    "first_data.segment_steps=20",
    "base.structures=12",
    "base.campaign.iterations=1",
    "training.epochs=4",
    "training.epochs_carried_over=4",
    "sampling.replicas=2",
    "sampling.relax.langevin_steps=20",
    "sampling.relax.berendsen_steps=20",
    "sampling.pull.steps=60",
    "sampling.pull.segment_steps=30",
    "sampling.pull.rate_angstrom_per_ps=20.0",
    "selection.cap=4",
    "iterations=1",
)


@dataclass(frozen=True)
class Row:
    """One iteration of one campaign."""

    variant: str
    seed: int
    iteration: int
    labels: int
    """Learnt from."""
    unseen_energy_mae_ev: float
    unseen_force_mae_ev_per_angstrom: float
    barrier_error_ev: float
    """Mean over the pairs."""
    barrier_error_ci95_ev: float
    pulls: int


@dataclass(frozen=True)
class Place:
    """Where campaigns are run."""

    folder: Path
    overrides: tuple[str, ...]
    workers: int

    def settings(self, seed: int, *overrides: str) -> CampaignSettings:
        """Return the campaign with a seed and further overrides."""
        return load_campaign(find_campaign("gfn2-over-dftb3"), [*self.overrides, f"seed={seed}", *overrides])

    def run(self, settings: CampaignSettings, name: str, shared: Path | None = None) -> RunDirectory:
        """Run a campaign, go on with it, or find it; it may take the reference pulls of another one."""
        run = RunDirectory((self.folder / name).resolve())
        if shared is not None and not (run.path / "campaign.toml").exists():
            with RunLock(run.path):
                run.open(settings)
            shutil.copytree(shared / "reference", run.path / "reference", dirs_exist_ok=True)
        if len(run.records()) < settings.iterations:
            options = {"workers": str(self.workers)}
            launch(settings, "local", options, run.path, PlainDisplay(60.0))
        return run


def campaigns(place: Place, seed: int, variants: Sequence[str]) -> dict[str, RunDirectory]:
    """Run all variants with one seed."""
    over = place.settings(seed)
    base = place.run(over.of_base(), f"base-seed-{seed}")
    found: dict[str, RunDirectory] = {}
    shared: Path | None = None
    for variant in variants:
        name = f"{variant.replace(' ', '-')}-seed-{seed}"
        if variant == "from nothing":
            found[variant] = place.run(without_base(over), name)
            continue
        given = over.model_dump(mode="json", exclude_none=True)
        given["base"] = {"run": str(base.path), "use": variant, "structures": given["base"]["structures"]}
        found[variant] = place.run(CampaignSettings.model_validate(given), name, shared)
        shared = shared or found[variant].path
    return found


def without_base(settings: CampaignSettings) -> CampaignSettings:
    """Return the campaign from nothing, with as many first labels."""
    assert settings.base is not None
    given = settings.model_dump(mode="json", exclude_none=True)
    wanted, md = settings.base.structures, settings.first_data.md
    given["first_data"]["md"]["stride"] = max(1, md.steps // wanted)
    given["sampling"]["relax_with"] = "label-engine"
    del given["base"]
    return CampaignSettings.model_validate(given)


def rows_of(variant: str, seed: int, run: RunDirectory) -> list[Row]:
    """Read what a campaign recorded."""
    found = []
    for record in run.records():
        error = record.barrier_error_ev
        assert error is not None
        unseen = (record.unseen_energy_mae_ev, record.unseen_force_mae_ev_per_angstrom)
        energy, force = (float("nan") if value is None else value for value in unseen)
        interval = float("nan") if error.ci95 is None else error.ci95
        pulls = len(error.values)
        row = Row(variant, seed, record.iteration, record.labels, energy, force, error.mean, interval, pulls)
        found.append(row)
    return found


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text."""
    lines = ["variant        seed  iter.  labels  unseen E MAE, meV  unseen F MAE, meV/Å  barrier error, eV   pulls"]
    lines += [
        f"{row.variant:<13} {row.seed:5d} {row.iteration:6d} {row.labels:7d} {1e3 * row.unseen_energy_mae_ev:18.2f} "
        f"{1e3 * row.unseen_force_mae_ev_per_angstrom:20.2f} {row.barrier_error_ev:+10.3f} ± "
        f"{row.barrier_error_ci95_ev:.3f} {row.pulls:7d}"
        for row in rows
    ]
    return "\n".join(lines)


def ratios_of(rows: Sequence[Row]) -> dict[str, float]:
    """Return the unseen errors of the energy at the end, means over the seeds, by those of the first variant."""
    last: dict[str, dict[int, float]] = {}
    for row in rows:
        last.setdefault(row.variant, {})[row.seed] = row.unseen_energy_mae_ev
    means = {variant: sum(found.values()) / len(found) for variant, found in last.items()}
    first, *others = means
    return {f"{other}/{first}": means[other] / means[first] for other in others if math.isfinite(means[other])}


def main() -> None:
    """Run, print one table, write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="ethane, one seed, one iteration of everything")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="these variants")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="setting of the campaign")
    parser.add_argument("--folder", type=Path, default=Path("runs/base-theory"))
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    quick = QUICK if arguments.quick else ()
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    place = Place(arguments.folder, (*quick, *arguments.overrides), arguments.workers)
    started, rows = time.monotonic(), list[Row]()
    for seed in seeds:
        for variant, run in campaigns(place, seed, arguments.only).items():
            rows += rows_of(variant, seed, run)
    print(table(rows))
    if arguments.json:
        content = {
            "machine": environment(),
            "seconds": time.monotonic() - started,
            "rows": [asdict(row) for row in rows],
            "ratios": ratios_of(rows),
        }
        arguments.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
