"""Parameter files that are broken: found when they are read, and refused at the distances concerned, never a number."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from alflow.dftb.flaws import ENERGY_JUMP, SLOPE_JUMP, find_flaws, joins, refuse_flawed
from alflow.dftb.parameter_sets import THREE_OB
from alflow.dftb.parameters import install, locate, parse_skf, read_pair
from alflow.dftb.skf import RepulsiveSpline, SlaterKosterFile
from alflow.errors import LabelError, ParameterError
from alflow.labeling.engines.dftb3 import DFTB3Engine
from alflow.labeling.engines.dftbplus import DFTBPlusEngine
from alflow.labeling.frames import label_frames
from alflow.labeling.kinds.dftb import DFTB3Settings, DFTBPlusSettings
from alflow.types import Composition, Frames
from alflow.units import BOHR_IN_ANGSTROM

BROKEN_ANGSTROM = {(9, 16): 1.535, (9, 17): 1.588, (11, 17): 2.328, (12, 17): 2.143, (15, 17): 2.037}
"""Pairs of 3ob-3-1 whose repulsion does not join, and below which distance."""

ENGINE = DFTB3Engine(DFTB3Settings())


@pytest.fixture(scope="session")
def three_ob() -> dict[tuple[int, int], SlaterKosterFile]:
    folder = locate("3ob-3-1")
    symbols = THREE_OB.symbols
    return {(a, b): read_pair(THREE_OB, folder, (a, b), check=True) for a in symbols for b in symbols}


def pcl3(bond_angstrom: float) -> np.ndarray:
    """Return PCl3 (P first) with equal bonds."""
    directions = np.array([[1.20503097, 1.20503097, -1.08452788], [-1.20503097, 1.20503097, -1.08452788],
                           [0.0, -1.69918052, -1.09233033]])  # fmt: skip
    ends = directions / np.linalg.norm(directions, axis=1)[:, None] * bond_angstrom
    return np.vstack([np.zeros((1, 3)), ends])


def pair(distance: float) -> np.ndarray:
    return np.array([[0.0, 0, 0], [0, 0, distance]])


def test_outsider_exactly_five_pairs_of_3ob_do_not_join(three_ob) -> None:
    flaws = find_flaws(three_ob, THREE_OB.symbols)
    found = {pair: round(of_pair[0].below * BOHR_IN_ANGSTROM, 3) for pair, of_pair in flaws.items()}
    assert found == BROKEN_ANGSTROM
    assert all(len(of_pair) == 1 and of_pair[0].above == 0.0 for of_pair in flaws.values())


def test_outsider_all_other_pairs_of_3ob_join_to_rounding(three_ob) -> None:
    """No tolerance decides: what joins does so a hundred million times better than what does not."""
    for (a, b), file in three_ob.items():
        energy, slope = (np.abs(jumps).max() for jumps in joins(file.repulsion))
        if (min(a, b), max(a, b)) in BROKEN_ANGSTROM:
            assert energy > 1e3 * ENERGY_JUMP
            assert slope > 1e2 * SLOPE_JUMP
        else:
            assert energy < 1e-10 * ENERGY_JUMP
            assert slope < 1e-10 * SLOPE_JUMP


def test_outsider_pcl3_in_the_broken_range_is_no_label_and_beyond_is_one() -> None:
    frames = Frames.of(np.array([15, 17, 17, 17]), np.array([pcl3(bond) for bond in (2.02, 2.036, 2.04, 2.08)]))
    batch = label_frames(ENGINE, frames)
    assert [(failure.frame, failure.reason) for failure in batch.failures] == [(n, "bad-parameters") for n in (0, 1)]
    assert batch.labels.energies == pytest.approx([-308.01911545, -308.2091715], abs=1e-6)
    detail = batch.failures[0].detail
    for part in ("3ob-3-1", "below 2.037 Å", "P and Cl", "1.86e+05 eV", "Atoms 0 and 1 are 2.020 Å apart"):
        assert part in detail


@pytest.mark.parametrize(("kinds", "border"), BROKEN_ANGSTROM.items())
@pytest.mark.parametrize("swapped", [False, True])
def test_outsider_each_broken_pair_is_refused_below_and_computed_above(kinds, border, swapped) -> None:
    numbers = np.array(kinds[::-1] if swapped else kinds)
    with pytest.raises(LabelError, match="does not join") as caught:
        ENGINE.compute(Composition(numbers), pair(border - 0.002))
    assert caught.value.reason == "bad-parameters"
    assert -1000.0 < ENGINE.compute(Composition(numbers), pair(border + 0.002)).energy < 0.0


def test_outsider_a_broken_pair_elsewhere_in_the_set_harms_no_other_molecule() -> None:
    numbers, x = np.array([6, 17, 9, 1, 1]), np.array([[0, 0, 0], [1.76, 0, 0], [-0.5, 1.28, 0], [-0.4, -0.5, 0.9],
                                                       [-0.4, -0.5, -0.9]])  # fmt: skip
    assert ENGINE.compute(Composition(numbers), x).energy < -100.0


def test_outsider_the_program_is_not_asked_for_what_its_parameters_do_not_know(tmp_path, monkeypatch) -> None:
    binary = tmp_path / "dftb+"
    binary.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/log\n")
    binary.chmod(0o755)
    engine = DFTBPlusEngine(DFTBPlusSettings(command=str(binary)))
    (tmp_path / "log").unlink(missing_ok=True)  # it was asked for its version
    for numbers, x, charge, reason in (
        ([15, 17, 17, 17], pcl3(2.02), 0, "bad-parameters"),
        ([15, 17, 17, 17], pcl3(2.08), 26, "bad-charge"),
        ([1], [[0.0, 0, 0]], 1, "bad-charge"),
        ([1], [[0.0, 0, 0]], -2, "bad-charge"),
    ):
        with pytest.raises(LabelError) as caught:
            engine.compute(Composition(np.array(numbers), charge), np.array(x))
        assert caught.value.reason == reason
    assert not (tmp_path / "log").exists()


def test_outsider_installing_says_which_pairs_are_broken(tmp_path, monkeypatch) -> None:
    source = locate("3ob-3-1")
    monkeypatch.setenv("ALFLOW_DATA", str(tmp_path))
    said: list[str] = []
    install("3ob-3-1", source=source, say=said.append)
    broken = [line for line in said if "broken, and refused" in line]
    assert len(broken) == 5
    assert any("2.037 Å the repulsion of P and Cl" in line for line in broken)


def test_outsider_the_fingerprint_and_the_bits_of_good_pairs_are_as_ever() -> None:
    assert ENGINE.theory == "71bd34989a8c1ce02218378731e1c08728c8c53fe3f1856fdfdc8f07ef3a7ac9"


# Files of one's own


def own_folder(tmp_path, **changed: str):
    """Return a folder with the files of H and C, some of them with other texts."""
    folder = tmp_path / "own"
    folder.mkdir()
    for name in ("H-H", "H-C", "C-H", "C-C"):
        shutil.copyfile(locate("3ob-3-1") / f"{name}.skf", folder / f"{name}.skf")
    for name, text in changed.items():
        (folder / f"{name.replace('_', '-')}.skf").write_text(text)
    return folder


def text_of(name: str) -> str:
    return (locate("3ob-3-1") / f"{name}.skf").read_text()


METHANE = np.array([6, 1, 1, 1, 1]), np.array([[0, 0, 0], [1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]]) * 0.629


def spline_line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[next(row for row, line in enumerate(lines) if line.strip() == "Spline") + number]


def swapped_knots(text: str) -> str:
    """Let one piece end before its start, and the next start there."""
    third, fourth = spline_line(text, 5), spline_line(text, 6)
    start, end = third.split()[:2]
    early = f"{float(start) - 0.05:.6f}"
    return text.replace(third, third.replace(end, early, 1)).replace(fourth, fourth.replace(end, early, 1))


def test_outsider_two_files_of_a_pair_that_disagree_are_refused(tmp_path) -> None:
    text = text_of("C-H").partition("Spline")[0] + "Spline" + text_of("C-C").partition("Spline")[2]
    engine = DFTB3Engine(DFTB3Settings(parameters_dir=str(own_folder(tmp_path, C_H=text))))
    with pytest.raises(LabelError, match="different repulsions") as caught:
        engine.compute(Composition(METHANE[0]), METHANE[1])
    assert caught.value.reason == "bad-parameters"
    far = METHANE[1] * 3.0  # beyond the cutoff, where the files agree
    assert engine.compute(Composition(METHANE[0]), far).energy == ENGINE.compute(Composition(METHANE[0]), far).energy


def test_outsider_an_unchanged_folder_of_ones_own_gives_the_same_bits(tmp_path) -> None:
    engine = DFTB3Engine(DFTB3Settings(parameters_dir=str(own_folder(tmp_path))))
    own, known = (
        engine.compute(Composition(METHANE[0]), METHANE[1]),
        ENGINE.compute(Composition(METHANE[0]), METHANE[1]),
    )
    assert own.energy == known.energy
    assert own.forces.tobytes() == known.forces.tobytes()


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda t: t.replace("Spline", "Spline\nnan"), "NaN|not"),
        (lambda t: t.replace(spline_line(t, 2), "nan 0.1 0.2"), "NaN or infinite"),
        (lambda t: t.replace(spline_line(t, 2), "1.0 inf 0.2"), "NaN or infinite"),
        (lambda t: t.replace(spline_line(t, 2), "1.0 2.0"), "head of 2"),
        (lambda t: t.replace(spline_line(t, 5).split()[3], "*" * 12), r"\*\*\*"),
        (lambda t: t.replace(spline_line(t, 5).split()[3], "NaN"), "NaN or infinite"),
        (lambda t: t.replace(spline_line(t, 5), spline_line(t, 6)), "do not join"),
        (lambda t: t.replace(spline_line(t, 5) + "\n", ""), "do not join|announced"),
        (lambda t: t.replace(spline_line(t, 5), " ".join(spline_line(t, 5).split()[:5])), "3 of 4 coefficients"),
        (swapped_knots, "grow from its start"),
        (lambda t: t.replace(spline_line(t, 1), f"0 {spline_line(t, 1).split()[1]}"), "0 pieces"),
        (lambda t: t.replace(spline_line(t, 1), f"-3 {spline_line(t, 1).split()[1]}"), "-3 pieces"),
        (lambda t: t.replace(spline_line(t, 1), f"999 {spline_line(t, 1).split()[1]}"), "999 pieces|could not|convert"),
        (lambda t: t[: t.index("Spline") + 700], "pieces|coefficients|found"),
        (lambda t: t.replace("2.000000000000E-02", "-0.02", 1), "distances that grow"),
        (lambda t: t.replace("2.000000000000E-02", "0.0", 1), "distances that grow"),
        (lambda t: t.replace("2.000000000000E-02", "nan", 1), "distances that grow"),
        (lambda t: "\n".join([t.splitlines()[0], *(["99999999999*1.0"] * 900)]), "convert|99999999999"),
    ],
)
def test_outsider_a_broken_file_is_named_when_it_is_read(tmp_path, damage, word) -> None:
    damaged = damage(text_of("C-H"))
    assert damaged != text_of("C-H")
    with pytest.raises(ParameterError, match=word) as caught:
        parse_skf(damaged, name="C-H.skf", homonuclear=False)
    assert "C-H.skf" in str(caught.value)
    engine = DFTB3Engine(DFTB3Settings(parameters_dir=str(own_folder(tmp_path, C_H=damaged))))
    batch = label_frames(engine, Frames.of(METHANE[0], METHANE[1][None]))
    assert [failure.reason for failure in batch.failures] == ["engine-error"]
    assert "C-H.skf" in batch.failures[0].detail


def test_outsider_exponents_of_fortran_are_numbers() -> None:
    text = text_of("C-H")
    token = spline_line(text, 5).split()[3]
    value = f"{float(token):.15e}"
    file, other = (
        parse_skf(text.replace(token, token_), name="x", homonuclear=False)
        for token_ in (value, value.replace("e", "D"))
    )
    assert file.repulsion.coefficients.tobytes() == other.repulsion.coefficients.tobytes()


# Generated splines


def made_spline(knots: list[float], a1: float) -> RepulsiveSpline:
    """Return a spline whose parts join: a smooth quintic (cutoff - r)^5 in pieces, and a head that continues it."""
    cutoff = knots[-1]
    starts = np.array(knots[:-1])
    gap = cutoff - starts
    binomial = np.array([1, 5, 10, 10, 5, 1])
    signs = np.array([(-1.0) ** power for power in range(6)])
    coefficients = binomial * signs * gap[:, None] ** (5 - np.arange(6))
    slope = coefficients[0, 1]
    a2 = np.log(-slope / a1) + a1 * starts[0]
    head = np.array([a1, a2, coefficients[0, 0] + slope / a1])
    return RepulsiveSpline(head, starts, coefficients, cutoff)


splines = st.builds(
    made_spline,
    st.lists(st.floats(1.0, 6.0), min_size=3, max_size=9, unique=True)
    .map(sorted)
    .filter(lambda knots: all(b - a > 0.05 for a, b in pairwise(knots))),
    st.floats(0.5, 6.0),
)


def file_of(spline: RepulsiveSpline) -> SlaterKosterFile:
    table = np.zeros((500, 10))
    return SlaterKosterFile(0.02, table, table, None, spline)


@settings(max_examples=200, deadline=None)
@given(spline=splines)
def test_outsider_generated_splines_that_join_have_no_flaw(spline) -> None:
    assert find_flaws({(6, 6): file_of(spline)}, {6: "C"}) == {}


@settings(max_examples=400, deadline=None)
@given(spline=splines, data=st.data(), size=st.floats(0.01, 1e6), down=st.booleans())
def test_outsider_generated_breaks_are_found_and_refused_inside_alone(spline, data, size, down) -> None:
    """A jump of the energy or slope at a knot, the head or the cutoff makes all that lies inside of it meaningless."""
    place = data.draw(st.integers(0, len(spline.starts)), label="place")
    power = data.draw(st.integers(0, 1), label="power")
    jump = -size if down else size
    coefficients, head = spline.coefficients.copy(), spline.head.copy()
    if place:  # the pieces up to this join move against what lies beyond
        coefficients[place - 1, power] += jump
    else:
        head[2] += jump
    broken = replace(spline, coefficients=coefficients, head=head)
    expected = np.append(spline.starts, spline.cutoff)[place]
    (flaw,) = find_flaws({(6, 6): file_of(broken)}, {6: "C"})[6, 6]
    assert flaw.below >= expected - 1e-12 if place == 0 or power == 0 else flaw.below > 0.0
    assume(flaw.below == expected)
    flaws = {(6, 6): (flaw,)}
    border = expected * BOHR_IN_ANGSTROM
    refuse_flawed(flaws, np.array([6, 6]), pair(border * 1.0001), "own")
    refuse_flawed(flaws, np.array([6, 1]), pair(border * 0.5), "own")
    with pytest.raises(LabelError, match="bad-parameters"):
        refuse_flawed(flaws, np.array([1, 6, 6]), np.vstack([[[9.0, 9, 9]], pair(border * 0.9999)]), "own")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_outsider_damaged_files_are_read_or_refused_in_words(data) -> None:
    """A token, a line or a stretch of a file is lost, doubled or overwritten: values or a ParameterError, no other."""
    lines = SHORT.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        row = data.draw(st.integers(0, len(lines) - 1))
        tokens = lines[row].split()
        column = data.draw(st.integers(0, max(len(tokens) - 1, 0)))
        what = data.draw(st.sampled_from(["drop line", "double line", "drop token", "cut", "token"]))
        if what == "drop line" and len(lines) > 1:
            del lines[row]
        elif what == "double line":
            lines.insert(row, lines[row])
        elif what == "cut":
            lines = [*lines[:row], lines[row][: data.draw(st.integers(0, 20))]]
        elif tokens:
            junk = st.sampled_from(
                ["nan", "inf", "-inf", "****", "1e999", "3*0.0", "9999*1", "x", "", "1D2", "-1", "0", "\0"]
            )
            tokens[column : column + 1] = [] if what == "drop token" else [data.draw(junk)]
            lines[row] = " ".join(tokens)
    try:
        file = parse_skf("\n".join(lines), name="X-X.skf", homonuclear=True)
    except ParameterError as error:
        assert "X-X.skf" in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert np.isfinite(file.overlap).all()
        assert np.isfinite(file.repulsion.coefficients).all()
        assert file.repulsion.cutoff > file.repulsion.starts[-1]
        find_flaws({(6, 6): file}, {6: "X"})


SHORT = (
    "0.02, 10, 2\n-0.1 -0.2 -0.5, 0.0 0.31 0.32 0.33 0.0 2.0 1.0\n12.01, 19*0.0\n"
    + "".join(" ".join(str(column + row) for column in range(20)) + "\n" for row in range(9))
    + ("Spline\n2 3.0\n1.5 2.5 -0.1\n1.0 2.0 0.4 -0.3 0.2 -0.1\n2.0 3.0 0.1 -0.2 0.3 0.0 0.0 0.0\n")
)


def test_outsider_integrals_that_end_before_the_repulsion_are_a_flaw(three_ob) -> None:
    short = {
        key: replace(file, hamiltonian=file.hamiltonian[:100], overlap=file.overlap[:100])
        for key, file in three_ob.items()
        if key == (6, 6)
    }
    (flaw,) = find_flaws(short, {6: "C"})[6, 6]
    assert flaw.above == pytest.approx(3.0)
    assert flaw.below == three_ob[6, 6].repulsion.cutoff
    refuse_flawed({(6, 6): (flaw,)}, np.array([6, 6]), pair(1.5), "own")
    with pytest.raises(LabelError, match=r"integrals of C and C end at 1\.588 Å"):
        refuse_flawed({(6, 6): (flaw,)}, np.array([6, 6]), pair(2.0), "own")


def test_outsider_tables_of_a_pair_in_different_steps_are_a_flaw(three_ob) -> None:
    files = {key: three_ob[key] for key in ((1, 6), (6, 1), (1, 1), (6, 6))}
    files[6, 1] = replace(files[6, 1], spacing=0.01)
    with pytest.raises(LabelError, match=r"steps of 0\.02 and 0\.01 Bohr"):
        refuse_flawed(find_flaws(files, THREE_OB.symbols), METHANE[0], METHANE[1], "own")
