"""A foundation model from a file that mace-torch wrote: its network for a few elements, and its weights."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from alflow.errors import InputError
from alflow.files.targets import shown
from alflow.potentials.mace.architecture import Architecture, Weights, architecture_in, weights_of
from alflow.potentials.mace.library import (
    AtomicNumberTable,
    extract_config_mace_model,
    load_foundations_elements,
    making,
    modules,
    remove_pt_head,
)

KIND = "a network of the class ScaleShiftMACE, as mace-torch saves it whole (.model)"
ENERGIES_OF_ATOMS = "atomic_energies_fn.atomic_energies"


def read_foundation(
    path: Path, head: str | None, elements: Sequence[int], precision: str
) -> tuple[Architecture, Weights]:
    """Return the network of a foundation model for some elements, and its weights; its energies of atoms are left out.

    Args:
        path: of the file. Reading it can execute anything: it must come from a source that is trusted.
        head: which of its heads; None where there is one.
        elements: atomic numbers, ascending.
        precision: "single" or "double".

    Raises:
        InputError: the file is not there, holds something else, has no such head, or does not know an element.
    """
    given = _one_head(_read(path), head, path, precision)
    _check_elements(given, elements, path)
    try:
        with making(precision):
            arguments = extract_config_mace_model(given)
        arguments = {**arguments, "atomic_numbers": list(elements), "num_elements": len(elements)}
        architecture = architecture_in(arguments, precision)
        module: Any = architecture.module()
        given.to(architecture.dtype)
        order = max(irrep.ir.l for irrep in arguments["hidden_irreps"])
        with making(precision):
            load_foundations_elements(
                module,
                given,
                AtomicNumberTable(list(elements)),
                load_readout=True,
                max_L=order,
                default_dtype=architecture.dtype,
            )
    except (AttributeError, KeyError, ValueError, RuntimeError, AssertionError) as error:
        raise InputError(
            f"A foundation model must be a network that mace-torch can cut to the elements {list(elements)}; with that "
            f"of {shown(path)} it cannot: {type(error).__name__}: {error}"
        ) from error
    weights = weights_of(module)
    weights[ENERGIES_OF_ATOMS] = torch.zeros_like(weights[ENERGIES_OF_ATOMS])
    return architecture, weights


def check_foundation(path: Path, head: str | None, elements: Sequence[int]) -> None:
    """Refuse a file that members cannot be fine-tuned from.

    Raises:
        InputError: see `read_foundation`.
    """
    read_foundation(path, head, sorted(set(elements)), "single")


def _read(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"A foundation model is a file; {shown(path)} is none. Give the path of a file that is there.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        lines = str(error).splitlines() or [""]
        raise InputError(
            f"A foundation model must be {KIND}; {shown(path)} cannot be read as one: {type(error).__name__}: "
            f"{lines[0]}"
        ) from error
    if type(found) is not modules.ScaleShiftMACE or hasattr(found, "joint_embedding"):
        what = "one that takes charges or spins" if hasattr(found, "joint_embedding") else f"a {type(found).__name__}"
        raise InputError(f"A foundation model must be {KIND}; {shown(path)} holds {what}. Give another file.")
    return found


def _one_head(given: Any, head: str | None, path: Path, precision: str) -> Any:
    known = list(getattr(given, "heads", None) or ["Default"])
    if head not in known and not (head is None and len(known) == 1):
        raise InputError(
            f"foundation_head must name a head of {shown(path)}, which has {', '.join(known)}; got {head!r}."
        )
    if len(known) == 1:
        return given
    with making(precision):
        return remove_pt_head(given, head)


def _check_elements(given: Any, elements: Sequence[int], path: Path) -> None:
    known = set(given.atomic_numbers.tolist())
    unknown = [number for number in elements if number not in known]
    if unknown:
        raise InputError(
            f"A foundation model must know every element that is learnt; {shown(path)} does not know the atomic "
            f"numbers {', '.join(map(str, unknown))}. Take another model, or leave foundation out."
        )
