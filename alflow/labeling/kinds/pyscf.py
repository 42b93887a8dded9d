"""The engine `pyscf`: density functional theory by the library PySCF."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from alflow.config.base import Settings
from alflow.labeling.protocol import EngineKind, LabelEngine


class PySCFSettings(Settings):
    """Kohn-Sham density functional theory in Gaussian functions, by PySCF."""

    functional: str = Field(default="wB97X", min_length=1)
    """Exchange-correlation functional, as PySCF and Libxc name it; HF for Hartree-Fock."""
    basis: str = Field(default="6-31G*", min_length=1)
    """Basis set by its name in PySCF; where it replaces the cores of heavy elements by potentials, these are used."""
    density_fitting: bool = True
    """Whether Coulomb and exchange go by density fitting: several times quicker, errors of 0.1 meV an atom."""
    auxiliary_basis: str | None = Field(default=None, min_length=1)
    """Functions that fit the density; not given: those that PySCF takes for the basis."""
    grid_level: int = Field(default=2, ge=0, le=9)
    """Fineness of the grid that the functional is integrated on."""
    grid_response: bool = True
    """Whether forces know that the grid moves with the atoms: they are then the exact slope of the energy."""
    dispersion: Literal["none", "d3bj", "d3zero", "d4"] = "none"
    """Dispersion correction beside what the functional's own name brings."""
    spin_treatment: Literal["unrestricted", "restricted"] = "unrestricted"
    """Whether spins up and down have orbitals of their own; a bond that breaks cannot be described without."""
    stability_analysis: bool = False
    """Whether the solution is checked to be a minimum among its kind, and left for a lower one where it is not."""
    energy_tolerance_hartree: float = Field(default=1e-9, gt=0.0, le=1e-5)
    """Largest change of the energy in the last cycle, Hartree."""
    gradient_tolerance: float = Field(default=1e-5, gt=0.0, le=1e-2)
    """Largest orbital gradient (root mean square) of a converged solution, Hartree."""
    max_cycles: int = Field(default=60, ge=1)
    """Most self-consistency cycles of one attempt."""
    memory_mb: float = Field(default=4000.0, ge=100.0)
    """Memory that PySCF plans with, MB: what is larger is kept in temporary files, and the blocks of sums follow it."""
    use_gpu: bool = False
    """Whether a GPU does the work, by gpu4pyscf."""


class PySCFKind(EngineKind[PySCFSettings]):
    """Density functional theory by PySCF."""

    settings = PySCFSettings
    packages: ClassVar[tuple[str, ...]] = ("pyscf", "pyscf-dispersion")
    modules: ClassVar[tuple[str, ...]] = ("pyscf",)
    extra: ClassVar[str] = "alflow[dft]"
    writes_files: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {"functional": "HF", "basis": "STO-3G"}

    def references(self, settings: PySCFSettings) -> tuple[str, ...]:
        """Return what to cite."""
        found = [
            f"and the functional {settings.functional} and the basis set {settings.basis}",
            "PySCF: Q. Sun, X. Zhang, S. Banerjee et al., J. Chem. Phys. 2020, 153, 024109",
            "Libxc: S. Lehtola, C. Steigemann, M. J. T. Oliveira, M. A. L. Marques, SoftwareX 2018, 7, 1-5",
        ]
        if settings.dispersion.startswith("d3"):
            found.append("D3: S. Grimme, J. Antony, S. Ehrlich, H. Krieg, J. Chem. Phys. 2010, 132, 154104")
        if settings.dispersion == "d3bj":
            found.append("D3(BJ): S. Grimme, S. Ehrlich, L. Goerigk, J. Comput. Chem. 2011, 32, 1456-1465")
        if settings.dispersion == "d4":
            found.append("D4: E. Caldeweyher, S. Ehlert, A. Hansen et al., J. Chem. Phys. 2019, 150, 154122")
        return tuple(found)

    def make(self, settings: PySCFSettings) -> LabelEngine:
        """Return an engine whose temporary files are in the usual place."""
        return self.make_in(settings, None)

    def make_in(self, settings: PySCFSettings, work: Path | None) -> LabelEngine:
        """Return an engine."""
        from alflow.labeling.engines.pyscf import PySCFEngine  # noqa: PLC0415 - heavy

        return PySCFEngine(settings, work)

    def forks(self) -> tuple[str, ...]:
        """Return its module."""
        return ("alflow.labeling.engines.pyscf",)


KIND = PySCFKind()
