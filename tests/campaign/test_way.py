"""What a pull of the plan does on its way: which atoms may leave, which bonds form, what counts as progress."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from basecampaigns import settings_with
from shortcampaigns import CONFIGS

from alflow.acquisition.plausibility import PlausibilityRule, plausible
from alflow.acquisition.progress import PULLED_APART, WAY_ANGSTROM, advance, planned_progress, start_progress
from alflow.campaign.plan import make_plan
from alflow.campaign.way import bonds_that_break, plausibility_of, way_of
from alflow.config.load import load_campaign
from alflow.structures import heavy_bonds

PULL = {"sampling__pull__steps": 60}


def spec_of(tmp_path, atoms, **changes):
    path = tmp_path / "start.xyz"
    ase.io.write(path, atoms)
    return make_plan(settings_with(system={"structure": str(path), **changes.pop("system", {})}, **changes)).pulls[0]


@pytest.mark.parametrize("kind", ["pulled_atoms", "variables"])
@pytest.mark.parametrize(
    ("atoms", "pair", "loose"),
    [
        (Atoms("HCl", [[0, 0, 0], [1.28, 0, 0]]), (0, 1), (0, 1)),
        (Atoms("N2", [[0, 0, 0], [1.1, 0, 0]]), (0, 1), (0, 1)),
        (molecule("CH4"), (0, 1), (1,)),
        (molecule("C2H6"), (0, 1), ()),
        (molecule("CH3Cl"), (0, 1), (1,)),
    ],
)
def test_the_plateau_where_a_single_atom_leaves_is_learnt(tmp_path, kind, atoms, pair, loose):
    event = {"system": {"pulled_atoms": pair}}
    if kind == "variables":
        bias = {"kind": "steered", "to": 5.0, "force_constant": 10.0}
        event = {"sampling__variables": [{"name": "bond", "distance": pair}], "sampling__bias": bias}
    spec = spec_of(tmp_path, atoms, **event)
    assert spec.molecule.loose == loose
    rule = plausibility_of(settings_with().selection, spec)
    apart = np.repeat(spec.molecule.positions[None], 2, axis=0)
    apart[1, pair[1]] += 4.0
    assert plausible(apart, rule).tolist() == [True, bool(loose)]


def test_hexane_and_its_frames_are_judged_as_before():
    """The pull of two carbon atoms apart: the same rule, the same bonds, the same progress to the last bit."""
    plan = make_plan(load_campaign(CONFIGS / "hexane.toml"))
    spec = plan.pulls[0]
    chosen = plan.settings.selection
    assert plausibility_of(chosen, spec) == PlausibilityRule(
        chosen.largest_nearest_angstrom, chosen.smallest_nearest_angstrom
    )
    numbers, positions = spec.molecule.numbers, spec.molecule.positions
    np.testing.assert_array_equal(bonds_that_break(spec), heavy_bonds(numbers, positions))
    way = way_of(spec)
    assert (way.direction, way.angstrom_per_unit, len(way.forming)) == (1.0, 1.0, 0)
    assert planned_progress(way.planned) == planned_progress(1e-3 * 0.5 * 6500 * 1.0) == pytest.approx(4.75)
    rng = np.random.default_rng(1)
    frames, coordinate = positions + rng.normal(0.0, 0.3, (50, *positions.shape)), rng.normal(6.0, 1.0, 50)
    args = (heavy_bonds(numbers, positions), 6.4, positions)
    found = [advance(start_progress(*args, one), coordinate, frames)[1] for one in (PULLED_APART, way)]
    extension = np.maximum.accumulate(np.maximum(coordinate - 6.4, 0.0))
    pairs = args[0]
    lengths = np.linalg.norm(frames[:, pairs[:, 0]] - frames[:, pairs[:, 1]], axis=-1)
    first = np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=-1)
    stretch = np.maximum.accumulate(np.maximum((lengths - first).max(axis=1), 0.0))
    assert np.array_equal(found[0], extension + np.minimum(stretch, 1.5))
    assert np.array_equal(found[1], found[0])


def test_a_bond_that_forms_and_one_that_breaks_are_found(tmp_path):
    """SN2: chlorine comes, bromine goes."""
    system = Atoms(
        "ClCHHHBr", [[-3.2, 0, 0], [0, 0, 0], [-0.3, 1.03, 0], [-0.3, -0.5, 0.9], [-0.3, -0.5, -0.9], [1.95, 0, 0]]
    )
    combine = [{"distance": [1, 5]}, {"distance": [0, 1], "weight": -1.0}]
    bias = {"kind": "steered", "to": 1.2, "force_constant": 10.0}
    event = {"sampling__variables": [{"name": "swap", "combine": combine}], "sampling__bias": bias}
    spec = spec_of(tmp_path, system, system={"charge": -1}, **event)
    way = way_of(spec)
    assert way.forming.tolist() == [[0, 1]]
    assert [1, 5] in bonds_that_break(spec).tolist()
    assert way.direction == 1.0
    assert way.angstrom_per_unit == 1.0
    assert way.planned == pytest.approx(1.2 - (1.95 - 3.2))
    assert set(spec.molecule.loose) == {0, 5}
    assert spec.molecule.variable == ("swap", "Å")


def test_a_torsion_counts_as_three_angstrom():
    bias = {"kind": "steered", "from": 180.0, "to": 60.0, "force_constant": 0.01}
    variables = [{"name": "torsion", "dihedral": [0, 1, 2, 3]}]
    plan = make_plan(settings_with(system={"carbons": [4]}, sampling__variables=variables, sampling__bias=bias))
    way = way_of(plan.pulls[0])
    assert (way.direction, way.planned) == (-1.0, WAY_ANGSTROM)
    assert way.angstrom_per_unit == pytest.approx(3.0 / 120.0)
    assert plan.molecules[0].variable == ("torsion", "°")


def test_pulled_atoms_and_variables_are_not_given_together():
    bias = {"kind": "steered", "to": 2.0, "force_constant": 10.0}
    event = {"sampling__variables": [{"name": "bond", "distance": [0, 1]}], "sampling__bias": bias}
    with pytest.raises(Exception, match=r"give one of them; got pulled_atoms = \[0, 1\]"):
        settings_with(system={"carbons": [2], "pulled_atoms": [0, 1]}, **event)
    hills = {"kind": "umbrella", "centres": [1.5], "force_constant": 1.0}
    with pytest.raises(Exception, match=r"does none: set stop\.stop_when = 'never'"):
        settings_with(stop__stop_when="change", sampling__replicas=2, **{**event, "sampling__bias": hills})
