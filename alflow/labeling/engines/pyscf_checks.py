"""What PySCF knows and has: functionals, basis sets, dispersion, a GPU. Each refusal is one sentence."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from pydantic import JsonValue
from pyscf import __config__, dft, gto
from pyscf.gto.basis import BasisNotFoundError
from pyscf.scf.dispersion import parse_dft, parse_disp

from alflow.errors import InputError, LabelError
from alflow.labeling.kinds.pyscf import PySCFSettings

WITHOUT_CORES = ("gth", "ccecp", "bfd")
"""Beginnings of the names of sets that need potentials for the cores which PySCF does not find by the set's name."""


def check_settings(settings: PySCFSettings) -> None:
    """Refuse settings that PySCF cannot work with here.

    Raises:
        InputError: a functional or a basis set that it does not know, or a library that is missing.
    """
    _check_functional(settings.functional)
    _check_basis("basis", settings.basis)
    if settings.auxiliary_basis is not None:
        _check_basis("auxiliary_basis", settings.auxiliary_basis)
    _check_dispersion(settings)
    if settings.use_gpu:
        _check_gpu()


def versions(settings: PySCFSettings) -> dict[str, JsonValue]:
    """Return versions of all that changes a number, and the digest of PySCF's own file of defaults if there is one."""
    file = getattr(__config__, "conf_file", None)
    found: dict[str, JsonValue] = {
        "pyscf": version("pyscf"),
        "libxc": str(dft.libxc.__version__),
        "defaults": hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else "",
    }
    if dispersion_of(settings):
        found["dispersion"] = version("pyscf-dispersion")
    if settings.use_gpu:
        found["gpu"] = _gpu_version()
    return found


def dispersion_of(settings: PySCFSettings) -> str | None:
    """Return the dispersion correction: the one that is set, or the one that the functional's name brings."""
    own = None if settings.dispersion == "none" else settings.dispersion
    found: str | None = _quietly(parse_disp, settings.functional, own)[1]
    return found


def core_potential(basis: str, symbol: str) -> str | None:
    """Return the name of the potential that stands for the core of an element in a basis set; None for none."""
    try:
        return basis if _quietly(gto.basis.load_ecp, basis, symbol) else None
    except (RuntimeError, OSError, KeyError):  # BasisNotFoundError is a RuntimeError
        return None


def require_elements(basis: str, symbols: list[str]) -> None:
    """Refuse a structure with an element that a basis set has no functions for.

    Raises:
        LabelError: "unknown-element".
    """
    for symbol in symbols:
        if not _has(basis, symbol):
            raise LabelError(
                "unknown-element",
                f"The basis set {basis} must have functions for every element of the structure; it has none for "
                f"{symbol}. Take another (labels.settings.basis).",
            )


def is_integrated(functional: str) -> bool:
    """Say whether a functional has a part that is integrated on a grid; Hartree-Fock has none."""
    kind: str = dft.numint.NumInt()._xc_type(_quietly(parse_dft, functional)[0])  # noqa: SLF001 - no other way to ask
    return kind != "HF"


def _check_functional(name: str) -> None:
    """Refuse what is no functional, or one whose energy is no number."""
    try:
        code = _quietly(parse_dft, name)[0]
        integrator = dft.numint.NumInt()
        kind = integrator._xc_type(code)  # noqa: SLF001 - there is no other way to ask
        hybrid = integrator.rsh_and_hybrid_coeff(code)
        density = np.full((2, 5 if kind == "MGGA" else 4 if kind in ("GGA", "NLC") else 1, 3), 0.05)
        energy = 0.0 if kind == "HF" else integrator.eval_xc_eff(code, density, deriv=1, xctype=kind)[0]
    except (KeyError, ValueError, NotImplementedError, RuntimeError, IndexError, AttributeError) as error:
        raise InputError(
            f"functional: PySCF must know the functional; it does not know {name!r} ({_words(error)}). Names are "
            "those of Libxc, such as PBE, B3LYP, wB97X or wB97M-V."
        ) from error
    exchange = kind != "HF" or any(hybrid[1:])
    if not np.isfinite([*hybrid, *np.ravel(energy)]).all() or not exchange:
        raise InputError(f"functional: a functional gives an energy; {name!r} gives none.")


def _check_basis(setting: str, name: str) -> None:
    plain = gto.basis._format_basis_name(name)  # noqa: SLF001 - what PySCF itself compares
    if "\n" in name or Path(name).is_file():
        raise InputError(f"{setting}: a basis set is given by its name in PySCF; {name!r} is a file or the set itself.")
    if plain.startswith(WITHOUT_CORES):
        raise InputError(
            f"{setting}: a basis set must bring the potentials of its cores, or none; those of {name!r} are others'. "
            "Take another, such as def2-SVP."
        )
    if not any(_has(name, symbol) for symbol in chemical_symbols[1:]):
        raise InputError(
            f"{setting}: PySCF must know the basis set; it does not know {name!r}. Names are those of PySCF, such as "
            "6-31G*, def2-TZVP or cc-pVDZ."
        )


def _has(basis: str, symbol: str) -> bool:
    try:
        return bool(_quietly(gto.basis.load, basis, symbol))
    except (BasisNotFoundError, KeyError, AssertionError, ValueError, IndexError, OSError):
        return False


def _check_dispersion(settings: PySCFSettings) -> None:
    """Refuse a correction that is not installed, or has no parameters for the functional: tried on two atoms."""
    own = None if settings.dispersion == "none" else settings.dispersion
    try:
        if dispersion_of(settings) is None:
            return
        import_module("pyscf.dispersion")
        pair = gto.M(atom="He 0 0 0; He 0 0 3", basis="sto-3g", verbose=0)
        tried = dft.RKS(pair, xc=settings.functional)
        tried.chkfile, tried.disp = None, own
        _quietly(tried.get_dispersion)
    except ImportError as error:
        raise InputError(
            f"dispersion: {dispersion_of(settings)} needs the library pyscf-dispersion, which cannot be imported "
            f"({_words(error)}). Install it (pip install 'alflow[dft]'), or set dispersion = 'none'."
        ) from error
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(
            f"dispersion: a correction has parameters for each functional that it is for; {settings.dispersion} has "
            f"none for {settings.functional} ({_words(error)})."
        ) from error


def _check_gpu() -> None:
    try:
        devices = int(import_module("cupy").cuda.runtime.getDeviceCount())
        import_module("gpu4pyscf.dft")
    except Exception as error:  # a driver that is missing has an exception of cupy's own
        raise InputError(
            f"use_gpu: a GPU and the library gpu4pyscf are needed; they cannot be used here ({_words(error)}). Install "
            "it (pip install gpu4pyscf-cuda12x), or set use_gpu = false."
        ) from error
    if not devices:
        raise InputError("use_gpu: a GPU is needed; there is none here. Set use_gpu = false.")


def _gpu_version() -> str:
    for name in ("gpu4pyscf-cuda13x", "gpu4pyscf-cuda12x", "gpu4pyscf-cuda11x", "gpu4pyscf"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return str(getattr(import_module("gpu4pyscf"), "__version__", "unknown"))


def _quietly(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function of PySCF's without its advice on what else could be installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)


def _words(error: BaseException) -> str:
    return " ".join(str(error.args[0] if error.args else error).split()) or type(error).__name__
