"""D3 dispersion with Becke-Johnson (rational) damping, by the library `dftd3` (Grimme et al. 2010, 2011)."""

from __future__ import annotations

from importlib import import_module

from alflow.dftb.parameter_sets import RationalDamping
from alflow.errors import ConfigError
from alflow.types import FloatArray, IntArray
from alflow.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV


def require_dftd3() -> None:
    """Refuse, in words, a setting that needs a library which is not there.

    Raises:
        ConfigError: The library `dftd3` cannot be imported.
    """
    try:
        import_module("dftd3.interface")
    except ImportError as cause:
        raise ConfigError(
            f"dispersion = 'd3bj' needs the library dftd3, which cannot be imported ({cause}). "
            "Install it (pip install 'alflow[dispersion]'), or set dispersion = 'none'."
        ) from cause


def d3bj(numbers: IntArray, positions: FloatArray, damping: RationalDamping) -> tuple[float, FloatArray]:
    """Return the two-body D3(BJ) energy in eV and forces (A, 3) in eV/Å.

    Args:
        numbers: (A,) atomic numbers.
        positions: (A, 3) Å.
        damping: Parameters of the damping.
    """
    interface = import_module("dftd3.interface")
    model = interface.DispersionModel(numbers, positions / BOHR_IN_ANGSTROM)
    parameters = interface.RationalDampingParam(s6=damping.s6, s8=damping.s8, s9=0.0, a1=damping.a1, a2=damping.a2)
    result = model.get_dispersion(parameters, grad=True)
    return float(result["energy"]) * HARTREE_IN_EV, result["gradient"] * (-HARTREE_IN_EV / BOHR_IN_ANGSTROM)
