"""Citations for a campaign."""

from __future__ import annotations

from alflow.config.campaign import CampaignSettings
from alflow.config.plugins import COORDINATES, ENGINES, POTENTIALS, find

METHOD = "Active learning of rare events: G. S. Jung, J. Y. Choi, S. M. Lee, Digital Discovery 2024, 3, 514-527"
SOFTWARE = (
    "LAMMPS: A. P. Thompson, H. M. Aktulga, R. Berger et al., Comput. Phys. Commun. 2022, 271, 108171",
    "Parsl: Y. Babuji, A. Woodard, Z. Li et al., HPDC 2019, 25-36, doi:10.1145/3307681.3325400",
    "ASE: A. H. Larsen, J. J. Mortensen, J. Blomqvist et al., J. Phys.: Condens. Matter 2017, 29, 273002",
)


def citations(settings: CampaignSettings) -> tuple[str, ...]:
    """Return the references for the engine, the potential and the programs that a campaign uses."""
    labels, potential, sampling = settings.labels, settings.potential, settings.sampling
    chosen = [
        (ENGINES, labels.engine, labels.settings),
        (POTENTIALS, potential.kind, potential.settings),
        (COORDINATES, sampling.coordinate, sampling.coordinate_settings),
    ]
    if settings.base is not None and settings.base.engine is not None and settings.base.settings is not None:
        chosen.append((ENGINES, settings.base.engine, settings.base.settings))
    kinds = [reference for group, name, own in chosen for reference in find(group, name).references(own)]
    return (METHOD, *kinds, *SOFTWARE)
