"""What a pull of the plan does on its way: what counts as progress, which bonds break and form, which atoms leave."""

from __future__ import annotations

import numpy as np
from ase.data import covalent_radii

from alflow.acquisition.plausibility import PlausibilityRule
from alflow.acquisition.progress import PULLED_APART, WAY_ANGSTROM, Way
from alflow.campaign.plan import PullSpec
from alflow.config.acquisition import SelectionSettings
from alflow.config.bias import EabfSettings, MetadynamicsSettings, UmbrellaSettings
from alflow.config.colvars import ByColvarsSettings
from alflow.structures import BOND_FACTOR, bonds, heavy_bonds
from alflow.types import IntArray
from alflow.units import BOLTZMANN_EV_PER_K

FEW_ATOMS = 12
"""A configuration of Colvars' own that names no more atoms may form a bond between any two of them."""


def way_of(spec: PullSpec) -> Way:
    """Return what counts as progress of a pull."""
    acting = spec.steering.bind(spec.settings)
    change = acting.planned_change(spec.settings.steps)
    if spec.steering.kind == "distance":
        return Way(planned=change)
    span = abs(change) or _span(spec)
    scale = 1.0 if acting.unit == "Å" or not span else WAY_ANGSTROM / span
    pairs = _pairs(spec)
    formed = covalent_radii[spec.molecule.numbers[pairs]].sum(axis=1)
    return Way(float(np.sign(change)), scale, pairs, formed, planned=span * scale)


def _span(spec: PullSpec) -> float:
    """Return how far the coordinate of a bias goes that takes it nowhere, in its unit; 0 where nobody knows."""
    settings = spec.steering.settings
    bias = settings.bias if isinstance(settings, ByColvarsSettings) else None
    if isinstance(bias, MetadynamicsSettings | EabfSettings):
        return bias.upper[0] - bias.lower[0]
    if isinstance(bias, UmbrellaSettings):
        return float(6.0 * np.sqrt(BOLTZMANN_EV_PER_K * spec.settings.temperature_k / bias.force_constant[0]))
    return 0.0


def _pairs(spec: PullSpec) -> IntArray:
    """Return the pairs that may form a bond, (P, 2): named by the variables, and not bonded at the start."""
    settings = spec.steering.settings
    if not isinstance(settings, ByColvarsSettings):
        return PULLED_APART.forming
    found = set()
    for term in (term for variable in settings.variables for term in variable.terms):
        if term.distance is not None and all(len(group) == 1 for group in term.distance):
            found.add((term.distance[0][0], term.distance[1][0]))
        if term.coordination is not None:
            found |= {(one, other) for one in term.coordination.group1 for other in term.coordination.group2}
    if not settings.variables and len(settings.atoms) <= FEW_ATOMS:
        found = {(one, other) for one in settings.atoms for other in settings.atoms if one < other}
    bonded = {(int(one), int(other)) for one, other in _bonds(spec)}
    free = sorted({(min(pair), max(pair)) for pair in found} - bonded)
    return np.array(free, dtype=np.int64).reshape(-1, 2)


def _bonds(spec: PullSpec) -> IntArray:
    return bonds(spec.molecule.numbers, spec.molecule.positions, BOND_FACTOR)


def bonds_that_break(spec: PullSpec) -> IntArray:
    """Return the bonds that may break, (B, 2): those without hydrogen, and those of the atoms of variables."""
    heavy = heavy_bonds(spec.molecule.numbers, spec.molecule.positions)
    if not isinstance(spec.steering.settings, ByColvarsSettings):
        return heavy
    pairs = _bonds(spec)
    named = np.isin(pairs, spec.molecule.steered).any(axis=1)
    without_hydrogen = (spec.molecule.numbers[pairs] > 1).all(axis=1)
    return np.asarray(pairs[named | without_hydrogen], dtype=np.int64)


def plausibility_of(chosen: SelectionSettings, spec: PullSpec) -> PlausibilityRule:
    """Return which frames of a pull may be labelled: an atom that the event itself lets go of is not lost."""
    return PlausibilityRule(chosen.largest_nearest_angstrom, chosen.smallest_nearest_angstrom, spec.molecule.loose)
