"""What an ensemble may be asked for: its own members, and structures of the elements that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence

from alflow.errors import InputError, StructureError
from alflow.potentials.protocol import Driver


def check_driver(driver: Driver, members: int) -> None:
    """Refuse a member that there is not.

    Args:
        driver: a member, or the mean of all.
        members: how many there are.

    Raises:
        InputError: there is no such member.
    """
    if driver != "mean" and not 0 <= driver < members:
        raise InputError(
            f"A driver is a member of the ensemble or 'mean': member {driver} was asked for, "
            f"of an ensemble of {members}. Count from 0."
        )


def check_elements(numbers: Sequence[int], elements: Sequence[int]) -> None:
    """Refuse atomic numbers of others than the elements that an ensemble was trained on.

    Raises:
        StructureError: an element is unknown to the ensemble.
    """
    for atom, number in enumerate(numbers):
        if number not in elements:
            raise StructureError(
                f"A potential knows only the elements that it was trained on: atom {atom} has the atomic number "
                f"{number}, the potential knows {', '.join(map(str, elements))}. "
                "Train it on data with this element, or take the atom out."
            )
