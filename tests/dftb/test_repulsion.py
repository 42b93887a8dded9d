import numpy as np
import pytest

from alflow.dftb.repulsion import add_repulsion, pair_repulsion


def test_head_pieces_and_tail_join_and_differentiate(tables_of):
    tables = tables_of(["C"]).repulsion
    assert tables.starts[0] == 2.0
    for r in (1.7, 2.02, 3.313, 4.79):
        slope = (pair_repulsion(tables, 0, r + 1e-6)[0] - pair_repulsion(tables, 0, r - 1e-6)[0]) / 2e-6
        assert pair_repulsion(tables, 0, r)[1] == pytest.approx(slope, abs=1e-8)
    for border in (*tables.starts, tables.cutoff[0]):
        below, above = pair_repulsion(tables, 0, border - 1e-10), pair_repulsion(tables, 0, border)
        assert below == pytest.approx(above, abs=1e-4)
    assert pair_repulsion(tables, 0, tables.cutoff[0]) == (0.0, 0.0)


def test_values_of_the_published_file(tables_of):
    """First cubic piece and head of C-C, as printed in the file."""
    tables = tables_of(["C"]).repulsion
    assert pair_repulsion(tables, 0, 2.0)[0] == pytest.approx(3.630700389745626e-01, abs=1e-15)
    head = np.exp(-2.152199575935475 * 1.5 + 3.588744214431140) - 1.258017874873710e-01
    assert pair_repulsion(tables, 0, 1.5)[0] == pytest.approx(head, abs=1e-14)


def test_forces_balance(tables_of):
    tables = tables_of(["C", "H", "O"])
    positions, gradient = np.array([[0.0, 0, 0], [1.6, 0.9, 0.2], [-0.4, 2.1, 0.3]]), np.zeros((3, 3))
    energy = add_repulsion(tables.repulsion, tables.species, 3, positions, gradient)
    assert energy > 0
    assert np.abs(gradient).max() > 0.01
    assert gradient.sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-14)
