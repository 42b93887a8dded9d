from dataclasses import replace

import numpy as np
import pytest

from alflow.dftb.skf import parse_skf
from alflow.errors import ParameterError

ROW = "1.0 2.0, 3*0.5 " + " ".join(str(k) for k in range(15))
SPLINE = "Spline\n2 3.0\n1.5 2.5 -0.1\n1.0 2.0 0.4 -0.3 0.2 -0.1\n2.0 3.0 0.1 -0.2 0.3 0.0 0.0 0.0\n"
ATOM = "-0.1 -0.2 -0.5, 0.0 0.31 0.32 0.33 0.0 2.0 1.0\n"


def simple(points: int = 10) -> str:
    rows = "\n".join([ROW] * (points - 1))
    return f"0.02, {points}, 2\n{ATOM}12.01, 19*0.0\n{rows}\n{SPLINE}"


def test_simple_lines_with_commas_and_repeats():
    file = parse_skf(simple(), name="X-X.skf", homonuclear=True)
    assert file.spacing == 0.02
    assert file.hamiltonian.shape == file.overlap.shape == (9, 10)
    assert file.hamiltonian[0].tolist() == [1.0, 2.0, 0.5, 0.5, 0.5, 0, 1, 2, 3, 4]
    assert file.overlap[0].tolist() == list(range(5, 15))


def test_the_free_atom_is_read_backwards():
    atom = parse_skf(simple(), name="X-X.skf", homonuclear=True).atom
    assert atom is not None
    assert atom.onsite.tolist() == [-0.5, -0.2, -0.1]
    assert atom.hubbard.tolist() == [0.33, 0.32, 0.31]
    assert atom.occupations.tolist() == [1.0, 2.0, 0.0]


def test_extended_lines_keep_the_same_ten_integrals():
    row = " ".join(str(k) for k in range(40))
    text = f"@ with f\n0.02 10\n0.0 {ATOM.strip()} 0 0\n12.01 19*0.0\n" + "\n".join([row] * 9) + "\n" + SPLINE
    file = parse_skf(text, name="X-X.skf", homonuclear=True)
    assert file.hamiltonian[0].tolist() == [7, 8, 9, 12, 13, 14, 15, 17, 18, 19]
    assert file.overlap[0].tolist() == [27, 28, 29, 32, 33, 34, 35, 37, 38, 39]


def test_repulsive_spline():
    spline = parse_skf(simple(), name="X-X.skf", homonuclear=True).repulsion
    assert spline.cutoff == 3.0
    assert spline.starts.tolist() == [1.0, 2.0]
    assert spline.coefficients[0].tolist() == [0.4, -0.3, 0.2, -0.1, 0.0, 0.0]
    assert spline.head.tolist() == [1.5, 2.5, -0.1]


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda text: text.replace("Spline", "Splin"), "Spline"),
        (lambda text: text.replace("0.02, 10", "0.02, 12"), "Spline"),
        (lambda text: text.replace(" 14\n", "\n"), "announced"),
        (lambda text: text.replace("1.0 2.0,", "1.0 zwei,", 1), "zwei"),
        (lambda text: text.replace("2.0 3.0 0.1", "2.1 3.0 0.1"), "join"),
        (lambda text: text[:400], "X-X.skf"),
        (lambda _: "", "X-X.skf"),
    ],
)
def test_a_damaged_file_is_named(damage, word):
    with pytest.raises(ParameterError, match=word) as error:
        parse_skf(damage(simple()), name="X-X.skf", homonuclear=True)
    assert "X-X.skf" in str(error.value)


def test_values_are_plain_data():
    file = parse_skf(simple(), name="X-X.skf", homonuclear=True)
    assert replace(file, spacing=0.03).spacing == 0.03
    assert np.isfinite(file.overlap).all()
