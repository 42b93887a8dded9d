import numpy as np
import pytest

from alflow.dftb.filling import entropy_energy, fermi_filling, filling_slope

LEVELS = np.array([-0.8, -0.5, -0.3001, -0.3, 0.1, 0.4])


@pytest.mark.parametrize("kt", [3e-8, 1e-3, 0.01, 0.1])
@pytest.mark.parametrize("electrons", [1.0, 5.0, 6.0, 7.0, 11.0])
def test_all_electrons_are_placed_in_order(kt, electrons):
    occupations = np.empty(6)
    level = fermi_filling(LEVELS, electrons, kt, occupations)
    assert occupations.sum() == pytest.approx(electrons, abs=1e-9)
    assert (np.diff(occupations) <= 0).all()
    x = np.clip((LEVELS - level) / kt, -600, 600)
    assert occupations == pytest.approx(2 / (np.exp(x) + 1), abs=1e-7)


def test_a_large_gap_gives_a_step():
    occupations = np.empty(6)
    fermi_filling(LEVELS, 4.0, 1e-3, occupations)
    assert occupations.tolist() == [2, 2, 0, 0, 0, 0]
    assert entropy_energy(occupations, 1e-3) == 0.0


def test_entropy_of_one_electron_in_one_level_is_two_ln_two():
    assert entropy_energy(np.array([2.0, 1.0, 0.0]), 0.01) == pytest.approx(-2 * 0.01 * np.log(2))


def test_the_free_energy_is_stationary():
    """At fixed number of electrons, moving occupation between two levels changes Σ fε - TS to second order only."""
    kt, occupations = 0.3, np.empty(6)
    fermi_filling(LEVELS, 6.0, kt, occupations)

    def free(move):
        moved = occupations + move * np.array([0, 0, 1, 0, -1, 0])
        return moved @ LEVELS + entropy_energy(moved, kt)

    assert (free(1e-4) - free(-1e-4)) / 2e-4 == pytest.approx(0.0, abs=1e-7)


def test_slope_joins_its_limit():
    kt, f = 0.01, 1.2
    level = 0.3
    mu = level - kt * np.log(2 / f - 1)
    near = 2 / (np.exp((level + 2e-6 - mu) / kt) + 1)
    assert filling_slope(level + 2e-6, level, near, f, kt) == pytest.approx(
        filling_slope(level, level, f, f, kt), rel=1e-3
    )
