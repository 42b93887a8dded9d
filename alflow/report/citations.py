"""What to cite for a campaign."""

from __future__ import annotations

from typing import Any

from alflow.config.campaign import CampaignSettings
from alflow.config.plugins import POTENTIALS, Kind, find
from alflow.dftb.parameter_sets import parameter_set

METHOD = "Active learning of rare events: G. S. Jung, J. Y. Choi, S. M. Lee, Digital Discovery 2024, 3, 514-527"
DFTB3 = "DFTB3: M. Gaus, Q. Cui, M. Elstner, J. Chem. Theory Comput. 2011, 7, 931-948"
DFTB_PLUS = "DFTB+: B. Hourahine, B. Aradi, V. Blum et al., J. Chem. Phys. 2020, 152, 124101"
D3 = (
    "D3: S. Grimme, J. Antony, S. Ehrlich, H. Krieg, J. Chem. Phys. 2010, 132, 154104",
    "D3(BJ): S. Grimme, S. Ehrlich, L. Goerigk, J. Comput. Chem. 2011, 32, 1456-1465",
)
XTB = {
    "GFN2-xTB": "GFN2-xTB: C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 2019, 15, 1652-1671",
    "GFN1-xTB": "GFN1-xTB: S. Grimme, C. Bannwarth, P. Shushkov, J. Chem. Theory Comput. 2017, 13, 1989-2009",
}
TBLITE = "tblite: S. Ehlert et al., https://github.com/tblite/tblite"
SOFTWARE = (
    "LAMMPS: A. P. Thompson, H. M. Aktulga, R. Berger et al., Comput. Phys. Commun. 2022, 271, 108171",
    "Parsl: Y. Babuji, A. Woodard, Z. Li et al., HPDC 2019, 25-36, doi:10.1145/3307681.3325400",
    "ASE: A. H. Larsen, J. J. Mortensen, J. Blomqvist et al., J. Phys.: Condens. Matter 2017, 29, 273002",
)


def citations(settings: CampaignSettings) -> tuple[str, ...]:
    """Return the references for the engine, the potential and the programs that a campaign uses."""
    return (METHOD, *_of_engine(settings), *_of_potential(settings), *SOFTWARE)


def _of_engine(settings: CampaignSettings) -> tuple[str, ...]:
    labels = settings.labels
    if labels.engine in ("dftb3", "dftbplus"):
        chosen = labels.settings.model_dump()
        found = [DFTB3, *parameter_set(chosen["parameters"]).references]
        found += D3 if chosen["dispersion"] == "d3bj" else ()
        return (*found, DFTB_PLUS) if labels.engine == "dftbplus" else tuple(found)
    if labels.engine == "gfn2-xtb":
        return XTB[labels.settings.model_dump()["method"]], TBLITE
    if labels.engine == "ase":
        return (f"and what the calculator {labels.settings.model_dump()['calculator']} asks to be cited",)
    return ()


def _of_potential(settings: CampaignSettings) -> tuple[str, ...]:
    kind: Kind[Any] = find(POTENTIALS, settings.potential.kind)
    return kind.references(settings.potential.settings)
