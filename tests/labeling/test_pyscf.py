"""The engine `pyscf`: equal to PySCF by hand, continuous while a bond breaks, and a sentence for what it cannot do."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed

pytest.importorskip("pyscf", reason="needs PySCF: pip install 'alflow[dft]'")

from pyscf import dft, gto, lib

from alflow.ase import PySCF
from alflow.errors import InputError, LabelError, StructureError
from alflow.labeling import make_engine
from alflow.labeling.engines import pyscf_checks, pyscf_scf
from alflow.labeling.engines.pyscf import PySCFEngine
from alflow.labeling.engines.pyscf_scf import Course, converge, mixed_density, spin_squared
from alflow.labeling.frames import label_frames
from alflow.labeling.guard import GuardedEngine
from alflow.labeling.kinds.pyscf import KIND, PySCFSettings
from alflow.types import Composition, Frames
from alflow.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

SMALL = {"basis": "STO-3G", "grid_level": 1}
PBE, B3LYP = {"functional": "PBE"}, {"functional": "B3LYP", "basis": "6-31G*"}
WATER, ETHANE = molecule("H2O"), molecule("C2H6")
H2 = np.array([1, 1])


def engine(**settings):
    return PySCFEngine(PySCFSettings(**{**SMALL, **settings}))


def hydrogen(distance):
    return np.array([[0.0, 0, 0], [0, 0, distance]])


def by_hand(atoms, kind, *, spin=0, charge=0, functional="wB97X", disp=None, basis="STO-3G", fit=True, start=None):
    """Return energy (eV) and forces (eV/Å) of PySCF called as its manual says."""
    mol = gto.M(
        atom=list(zip(atoms.symbols, atoms.positions / BOHR_IN_ANGSTROM, strict=True)),
        unit="Bohr", basis=basis, spin=spin, charge=charge, verbose=0,
    )  # fmt: skip
    field = kind(mol, xc=functional)
    field.grids.level, field.conv_tol, field.conv_tol_grad, field.disp = 1, 1e-10, 1e-6, disp
    if fit:
        field = field.density_fit()
    energy = field.kernel(dm0=start)
    gradient = field.nuc_grad_method()
    gradient.grid_response = True
    return energy * HARTREE_IN_EV, gradient.kernel() * (-HARTREE_IN_EV / BOHR_IN_ANGSTROM)


@pytest.mark.parametrize(
    ("atoms", "composition", "settings", "hand"),
    [
        ("H2O", {}, {}, {"kind": dft.RKS}),
        ("H2O", {}, {"spin_treatment": "restricted"}, {"kind": dft.RKS}),
        ("H2O", {}, {"density_fitting": False, **PBE}, {"kind": dft.RKS, "fit": False, **PBE}),
        ("H2O", {"charge": 1}, {}, {"kind": dft.UKS, "charge": 1, "spin": 1}),
        ("OH", {"charge": -1}, {"functional": "HF"}, {"kind": dft.RKS, "charge": -1, "functional": "HF"}),
        ("O2", {"multiplicity": 3}, {}, {"kind": dft.UKS, "spin": 2}),
        ("O2", {"multiplicity": 3}, {"spin_treatment": "restricted"}, {"kind": dft.ROKS, "spin": 2}),
        ("NO", {}, {**B3LYP}, {"kind": dft.UKS, "spin": 1, **B3LYP}),
    ],
)  # fmt: skip
def test_equal_to_pyscf_called_by_hand(atoms, composition, settings, hand):
    built = molecule(atoms)
    found = engine(**settings).details(Composition(built.numbers, **composition), built.positions)
    energy, forces = by_hand(built, **hand)
    assert found.energy == pytest.approx(energy, abs=1e-6)
    assert np.abs(found.forces - forces).max() < 2e-3 * 0.1
    spin = hand.get("spin", 0) / 2
    assert found.s_squared == pytest.approx(spin * (spin + 1), abs=0.02)


@pytest.mark.parametrize("dispersion", ["d3bj", "d3zero", "d4"])
def test_dispersion_is_added_to_energy_and_forces(dispersion):
    pytest.importorskip("pyscf.dispersion", reason="needs pyscf-dispersion: pip install 'alflow[dft]'")
    composition = Composition(WATER.numbers)
    plain = engine(functional="PBE").compute(composition, WATER.positions)
    found = engine(functional="PBE", dispersion=dispersion).compute(composition, WATER.positions)
    energy, forces = by_hand(WATER, dft.RKS, functional="PBE", disp=dispersion)
    assert found.energy == pytest.approx(energy, abs=1e-6)
    assert np.abs(found.forces - forces).max() < 2e-4
    assert found.energy < plain.energy - 1e-4
    assert np.abs(found.forces - plain.forces).max() > 1e-5


@pytest.mark.parametrize(
    ("spin", "composition", "stretch"),
    [
        ("unrestricted", {}, 1.0),
        ("unrestricted", {}, 2.4),
        ("unrestricted", {"charge": 1}, 1.1),
        ("unrestricted", {"multiplicity": 3}, 1.1),
        ("restricted", {}, 1.1),
    ],
)
def test_forces_are_central_differences(spin, composition, stretch):
    atoms = WATER.copy()
    atoms.positions[1] = atoms.positions[0] + stretch * (atoms.positions[1] - atoms.positions[0])
    solver, own, step = (
        engine(spin_treatment=spin, gradient_tolerance=1e-6),
        Composition(WATER.numbers, **composition),
        2e-3,
    )
    found = solver.details(own, atoms.positions)
    if stretch > 2:
        assert found.s_squared > 0.8
    for atom, axis in ((0, 2), (1, 1))[: 2 if stretch == 1.0 else 1]:
        ends = []
        for sign in (1, -1):
            moved = atoms.positions.copy()
            moved[atom, axis] += sign * step
            ends.append(solver.compute(own, moved).energy)
        assert found.forces[atom, axis] == pytest.approx(-(ends[0] - ends[1]) / (2 * step), abs=5e-4)


def test_a_bond_pulled_apart_is_continuous_and_ends_as_two_radicals():
    solver = engine()
    atom = engine().compute(Composition(np.array([1])), np.zeros((1, 3))).energy
    distances = np.concatenate([np.arange(0.7, 2.01, 0.1), [2.2, 2.5, 3.0, 4.0, 5.0]])
    found = [solver.details(Composition(H2), hydrogen(distance)) for distance in distances]
    energies = np.array([one.energy for one in found])
    spins = np.array([one.s_squared for one in found])
    forces = np.array([one.forces[1, 2] for one in found])
    assert spins[0] == pytest.approx(0.0, abs=1e-6)
    assert spins[-1] == pytest.approx(1.0, abs=1e-3)
    assert (np.diff(spins) > -1e-4).all()
    assert energies[-1] == pytest.approx(2 * atom, abs=2e-3)
    steps = np.diff(energies[:14]) + (forces[1:14] + forces[:13]) / 2 * 0.1
    assert np.abs(steps).max() < 0.025  # of the trapezoidal rule; a jump to the symmetric solution has 0.1 and more
    restricted = engine(spin_treatment="restricted").compute(Composition(H2), hydrogen(5.0)).energy
    assert restricted > energies[-1] + 2.0


def test_a_trajectory_from_the_last_densities_finds_the_same_energies():
    """Through the point where the symmetry breaks, there and back: a start decides how long it takes, no more."""
    solver, start = engine(), None
    for distance in (0.8, 1.2, 1.5, 1.6, 1.8, 3.0, 2.0, 1.6, 1.5, 0.9):
        warm = solver.compute(Composition(H2), hydrogen(distance), start)
        cold = solver.compute(Composition(H2), hydrogen(distance))
        assert warm.energy == pytest.approx(cold.energy, abs=1e-6)
        assert warm.diagnostics["s_squared"] == pytest.approx(cold.diagnostics["s_squared"], abs=1e-3)
        start = warm.start
    other = solver.compute(Composition(WATER.numbers), WATER.positions, start)  # of another molecule: not used
    assert other.energy == solver.compute(Composition(WATER.numbers), WATER.positions).energy


def test_a_start_saves_cycles():
    solver, own = engine(), Composition(WATER.numbers, 1)
    cold = solver.compute(own, WATER.positions)
    warm = solver.compute(own, WATER.positions + 0.0, cold.start)
    assert 0 < warm.cycles < cold.cycles
    assert warm.energy == pytest.approx(cold.energy, abs=1e-7)


def test_the_same_bits_whatever_came_before_and_in_a_process_of_its_own():
    own, settings = Composition(ETHANE.numbers), PySCFSettings(**SMALL)
    first = PySCFEngine(settings).compute(own, ETHANE.positions)
    used = PySCFEngine(settings)
    used.compute(Composition(WATER.numbers), WATER.positions)
    hoard = np.ones(40_000_000)  # PySCF cuts its sums by the memory that is left
    guarded = GuardedEngine("pyscf", settings.model_dump(mode="json"))
    for other in (used, guarded):
        again = other.compute(own, ETHANE.positions)
        assert again.energy == first.energy
        assert np.array_equal(again.forces, first.forces)
        assert again.diagnostics == first.diagnostics
        assert other.theory == used.theory
    assert hoard.all()
    guarded.close()


def test_threads_are_those_of_the_site_and_the_process_keeps_its_own(monkeypatch):
    seen = []
    plain = pyscf_scf.converge
    monkeypatch.setattr(
        "alflow.labeling.engines.pyscf.converge", lambda *given: (seen.append(lib.num_threads()), plain(*given))[1]
    )
    before, memory, place = lib.num_threads(), lib.current_memory, lib.param.TMPDIR
    for given, threads in (("2", 2), ("1", 1), ("1,2", 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        engine().compute(Composition(H2), hydrogen(0.74))
        assert seen[-1] == threads
    monkeypatch.delenv("OMP_NUM_THREADS")
    engine().compute(Composition(H2), hydrogen(0.74))
    assert seen[-1] == 1
    assert (lib.num_threads(), lib.current_memory, lib.param.TMPDIR) == (before, memory, place)


def test_large_integrals_go_to_files_of_the_label_and_none_stays(tmp_path, monkeypatch):
    made = []
    plain = lib.NamedTemporaryFile

    def note(*given, **named):
        file = plain(*given, **named)
        made.append(file.name)
        return file

    monkeypatch.setattr(lib, "NamedTemporaryFile", note)
    settings = PySCFSettings(**{**SMALL, "basis": "def2-TZVP", "memory_mb": 100})
    monkeypatch.setattr(lib, "current_memory", lambda: (99.0, 99.0))  # of the process; not what the engine sees
    PySCFEngine(settings, tmp_path).compute(Composition(WATER.numbers), WATER.positions)
    assert all(name.startswith(str(tmp_path)) for name in made)
    assert list(tmp_path.iterdir()) == []


def test_spin_squared_and_mixed_orbitals_are_those_of_the_textbook():
    mixed = mixed_density(np.eye(3), 1)
    assert spin_squared(mixed, np.eye(3)) == pytest.approx(1.0)
    assert np.trace(mixed, axis1=1, axis2=2) == pytest.approx([1.0, 1.0])
    found = engine().details(Composition(np.array([8]), 0, 3), np.zeros((1, 3)))
    assert found.s_squared == pytest.approx(2.0, abs=1e-3)
    mol = gto.M(atom="O", basis="STO-3G", spin=2, verbose=0)
    field = dft.UKS(mol, xc="wB97X").run()
    assert spin_squared(np.array(field.make_rdm1()), mol.intor("int1e_ovlp")) == pytest.approx(field.spin_square()[0])


class Reluctant:
    """A mean field whose attempts fail until the step that is named."""

    def __init__(self, works):
        self.works, self.kind, self.max_cycle, self.converged = works, "plain", 7, False
        self.damp = self.level_shift = self.diis_start_cycle = 0
        self.callback = None

    def copy(self):
        made = Reluctant(self.works)
        made.kind = self.kind
        return made

    def istype(self, _name):
        return False

    def newton(self):
        self.kind = "second order"
        return self

    def smearing(self, **_):
        self.kind = "smeared"
        return self

    def make_rdm1(self):
        return "smeared density"

    def kernel(self, dm0):
        if self.kind == "second order" and dm0 == "smeared density":
            self.kind = "smeared, then second order without"
        if self.damp:
            self.kind = "damped"
        if self.level_shift:
            self.kind = "level shift"
        self.callback({"norm_gorb": 0.5})
        if self.works == "raises":
            raise np.linalg.LinAlgError("singular")
        self.converged = self.kind == self.works


@pytest.mark.parametrize(
    ("works", "attempts"),
    [("plain", 1), ("damped", 2), ("level shift", 3), ("second order", 4), ("smeared, then second order without", 6)],
)
def test_each_step_of_the_ladder_is_tried_in_turn_and_told(works, attempts):
    course = Course()
    found = converge(Reluctant(works), "guess", course)
    assert found.converged
    assert len(course.history) == attempts
    assert course.rescues == min(attempts, 5) - 1
    assert course.cycles == attempts
    assert course.history[-1].startswith(f"{works}: converged after 1 cycles")
    assert all("not converged" in step for step in course.history[:-1])


@pytest.mark.parametrize(("works", "word"), [("never", "not converged"), ("raises", "failed (LinAlgError: singular)")])
def test_when_no_step_helps_the_failure_holds_the_history(works, word):
    with pytest.raises(LabelError) as caught:
        converge(Reluctant(works), "guess", Course())
    assert caught.value.reason == "not-converged"
    assert caught.value.detail.count(word) == 6


def test_too_few_cycles_are_a_failure_with_its_history():
    frames = Frames.of(WATER.numbers, WATER.positions[None])
    batch = label_frames(engine(max_cycles=1), frames)
    assert batch.failures[0].reason == "not-converged"
    for step in ("plain", "damped", "level shift", "second order", "smeared", "smeared, then second order without"):
        assert re.search(rf"{step}: not converged after \d+ cycles, gradient \d", batch.failures[0].detail)


@pytest.mark.parametrize(
    ("skip", "name", "atoms"),
    [(0, "damped", "O2"), (1, "level shift", "H2O"), (2, "second order", "O2"), (3, "smeared", "H2O")],
)
def test_every_rescue_ends_in_the_solution_of_the_unmodified_functional(monkeypatch, skip, name, atoms):
    """The plain attempt is spoiled, and the steps before the one that is looked at."""
    plain = pyscf_scf._run

    def spoiled(field, density, step, course):
        if step == "plain":
            field.max_cycle = 1
        return plain(field, density, step, course)

    monkeypatch.setattr(pyscf_scf, "_run", spoiled)
    monkeypatch.setattr(pyscf_scf, "RESCUES", pyscf_scf.RESCUES[skip:])
    built = molecule(atoms)
    composition = Composition(built.numbers, multiplicity=3 if atoms == "O2" else 1)
    rescued = engine(gradient_tolerance=1e-6).details(composition, built.positions)
    assert rescued.course.rescues == 1
    assert name in rescued.course.told()
    monkeypatch.setattr(pyscf_scf, "_run", plain)
    usual = engine(gradient_tolerance=1e-6).details(composition, built.positions)
    assert usual.course.rescues == 0
    assert rescued.energy == pytest.approx(usual.energy, abs=1e-6)
    assert np.abs(rescued.forces - usual.forces).max() < 2e-4


def test_stability_analysis_leaves_an_unstable_solution(monkeypatch):
    """From restricted orbitals, that no cycle can break, of a bond that is stretched."""
    monkeypatch.setattr(PySCFEngine, "_broken", lambda *_: None)
    own, far = Composition(H2), hydrogen(2.5)
    stuck = engine().details(own, far)
    followed = engine(stability_analysis=True).details(own, far)
    assert stuck.s_squared == pytest.approx(0.0, abs=1e-6)
    assert followed.s_squared > 0.9
    assert followed.energy < stuck.energy - 0.5
    assert "unstable, followed" in followed.course.history
    monkeypatch.setattr("alflow.labeling.engines.pyscf_scf.MOST_FOLLOWED", 0)
    with pytest.raises(LabelError, match="A solution must be stable"):
        engine(stability_analysis=True).details(own, far)


@pytest.mark.parametrize("treatment", ["restricted", "unrestricted"])
def test_stability_analysis_changes_nothing_where_all_is_well(treatment):
    own = Composition(WATER.numbers)
    plain = engine(spin_treatment=treatment).compute(own, WATER.positions)
    checked = engine(spin_treatment=treatment, stability_analysis=True).compute(own, WATER.positions)
    assert (checked.energy, checked.diagnostics) == (plain.energy, plain.diagnostics)


def test_cores_are_replaced_where_the_basis_set_says_so():
    iodide = Composition(np.array([53]), -1)
    found = engine(basis="def2-SVP", functional="PBE").compute(iodide, np.zeros((1, 3)))
    mol = gto.M(atom="I", charge=-1, basis="def2-SVP", ecp="def2-SVP", verbose=0)
    field = dft.RKS(mol, xc="PBE").density_fit()
    field.grids.level = 1
    assert found.energy == pytest.approx(field.kernel() * HARTREE_IN_EV, abs=1e-5)


REFUSED = {
    "functional": (
        "nonsense", "B3LYQ", "PBE0 and more", "b2plyp", "DSD-PBEP86", "wb97x-d", "wb97x-d3", "b97-3c", "xyg3",
        "1e400*hf", "nan*hf", "/etc/passwd", " ", "+", ",", "*", "{}", "PBE;PBE", "tb09", "-d3bj", "éß",
    ),
    "basis": (
        "nonsense", "6-32G", "6-31G*junk", "gth-szv", "GTH-DZVP", "ccecp-cc-pvdz", "bfd-vdz", "/etc/passwd", " ", "@",
        "sto-3g@9s", "H S\n 1.0 1.0", "sto-3g@", "a@b@c", "../sto-3g", "*", "éß", "{'H': 'sto-3g'}",
    ),
    "auxiliary_basis": ("nonsense", "/etc/passwd", "gth-szv", " "),
}  # fmt: skip
GIVEN = [(setting, value) for setting, values in REFUSED.items() for value in values]


@pytest.mark.parametrize(("setting", "value"), GIVEN)
def test_what_pyscf_does_not_know_is_refused_in_one_sentence(setting, value):
    with pytest.raises(InputError) as caught:
        engine(**{setting: value})
    assert re.match(rf"({setting}|dispersion): ", str(caught.value))
    assert repr(value) in str(caught.value) or setting == "functional"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("functional", "B3LYP"), ("functional", "pbe0"), ("functional", "LDA,VWN"), ("functional", "r2SCAN"),
        ("functional", "HF"), ("functional", ".2*HF+.8*B88,LYP"), ("functional", "M06-2X"), ("functional", "wB97M-V"),
        ("functional", "CAMB3LYP"), ("functional", "tpssh"),
        ("basis", "6-31G(d)"), ("basis", "def2-TZVP"), ("basis", "cc-pVDZ"), ("basis", "6-311+G(3df,2p)"),
        ("basis", "aug-cc-pVTZ"), ("basis", "lanl2dz"), ("basis", "lanl08"),
        ("auxiliary_basis", "def2-universal-jkfit"),
    ],
)  # fmt: skip
def test_what_pyscf_knows_is_taken(setting, value):
    assert engine(**{setting: value}).theory != engine().theory


@pytest.mark.parametrize(
    ("numbers", "composition", "settings", "reason", "words"),
    [
        ([53, 1], {}, {"basis": "6-31G*"}, "unknown-element", "it has none for I"),
        ([6, 1], {}, {"basis": "lanl08"}, "unknown-element", "it has none for C"),
        ([92], {}, {}, "unknown-element", "it has none for U"),
        ([1, 1], {"charge": 2}, {}, "bad-charge", "at least one electron"),
        ([1, 1], {"charge": -4}, {}, "bad-charge", "at most two for each of its 2 orbitals"),
        ([8], {"multiplicity": 9}, {}, "bad-multiplicity", "8 electrons in 5 orbitals cannot have 9"),
        ([2], {"multiplicity": 3}, {}, "bad-multiplicity", "2 electrons in 1 orbitals cannot have 3"),
        ([53], {"multiplicity": 54}, {"basis": "def2-SVP"}, "bad-multiplicity", "cannot have 54"),
    ],
)
def test_what_does_not_fit_is_a_failure_with_its_reason(numbers, composition, settings, reason, words):
    positions = np.arange(len(numbers))[:, None] * np.array([[0.0, 0, 1.6]])
    with pytest.raises(LabelError) as caught:
        engine(**settings).compute(Composition(np.array(numbers), **composition), positions)
    assert caught.value.reason == reason
    assert words in caught.value.detail


@pytest.mark.parametrize("given", ["2", "4", "12"])
def test_a_multiplicity_that_does_not_fit_the_electrons_is_refused_before(given):
    with pytest.raises(StructureError, match="A multiplicity is 2S"):
        Composition(WATER.numbers, 0, int(given))


def test_dispersion_without_its_library_or_parameters_is_a_sentence(monkeypatch):
    with pytest.raises(InputError, match=r"d3bj has none for r2SCAN0X|functional: "):
        engine(functional="r2SCAN0X", dispersion="d3bj")
    with pytest.raises(InputError, match=r"dispersion: .* d4 has none for LDA,VWN"):
        engine(functional="LDA,VWN", dispersion="d4")

    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(pyscf_checks, "import_module", missing)
    with pytest.raises(InputError, match=r"needs the library pyscf-dispersion, .*pip install 'alflow\[dft\]'"):
        engine(functional="PBE", dispersion="d3bj")
    with pytest.raises(InputError, match="needs the library pyscf-dispersion"):
        engine(functional="PBE-D3BJ")
    assert engine(functional="PBE").theory


@pytest.mark.skipif(importlib.util.find_spec("gpu4pyscf") is not None, reason="gpu4pyscf is installed here")
def test_a_gpu_that_is_not_there_is_a_sentence():
    with pytest.raises(InputError, match=r"use_gpu: a GPU and the library gpu4pyscf are needed.*use_gpu = false"):
        engine(use_gpu=True)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_label():
    pytest.importorskip("gpu4pyscf", reason="needs gpu4pyscf: pip install gpu4pyscf-cuda12x")
    for distance in (0.74, 3.0):
        here, there = (engine(use_gpu=gpu).details(Composition(H2), hydrogen(distance)) for gpu in (False, True))
        assert there.energy == pytest.approx(here.energy, abs=1e-5)
        assert there.s_squared == pytest.approx(here.s_squared, abs=1e-3)
        assert np.abs(there.forces - here.forces).max() < 1e-3


def test_the_theory_holds_versions_and_a_file_of_defaults(monkeypatch, tmp_path):
    usual = engine().theory
    file = tmp_path / "conf.py"
    file.write_text("B3LYP_WITH_VWN5 = True\n")
    monkeypatch.setattr(pyscf_checks.__config__, "conf_file", str(file))
    own = engine().theory
    file.write_text("B3LYP_WITH_VWN5 = False\n")
    assert len({usual, own, engine().theory}) == 3
    monkeypatch.undo()
    monkeypatch.setattr(pyscf_checks, "version", lambda _: "2.99")
    assert engine().theory not in (usual, own)


def test_without_pyscf_it_is_one_sentence(monkeypatch):
    monkeypatch.setattr(type(KIND), "modules", ("pyscf_that_is_not_there",))
    with pytest.raises(InputError, match=r"needs pyscf_that_is_not_there, not installed here.*alflow\[dft\]"):
        make_engine("pyscf", SMALL)
    with pytest.raises(InputError, match=r"pip install 'alflow\[dft\]'"):
        PySCF()


def test_the_ase_calculator_goes_from_step_to_step():
    atoms = Atoms("H2", hydrogen(0.8))
    atoms.calc = PySCF(**SMALL)
    whole = atoms.get_potential_energy()
    assert whole == pytest.approx(engine().compute(Composition(H2), hydrogen(0.8)).energy, abs=1e-6)
    atoms.positions[1, 2] = 3.0
    assert atoms.get_potential_energy() > whole + 3.0
    assert atoms.calc.results["s_squared"] == pytest.approx(1.0, abs=0.01)
    assert atoms.get_forces().shape == (2, 3)
    atoms.info["multiplicity"] = 3
    triplet = atoms.get_potential_energy()
    assert atoms.calc.results["s_squared"] == pytest.approx(2.0)
    assert triplet == pytest.approx(engine().compute(Composition(H2, 0, 3), hydrogen(3.0)).energy, abs=1e-6)
    atoms.info.update(multiplicity=2, charge=1)
    assert atoms.get_potential_energy() > triplet
    with pytest.raises(CalculationFailed, match="unknown-element"):
        Atoms("U", calculator=PySCF(**SMALL)).get_potential_energy()
    atoms.pbc = True
    with pytest.raises(StructureError, match="PySCF is for molecules"):
        atoms.get_potential_energy()


def test_a_radical_counts_its_rescues_as_none():
    batch = label_frames(engine(), Frames.of(H2, np.stack([hydrogen(0.74), hydrogen(3.0)])))
    assert [told["scf_rescues"] for told in batch.diagnostics] == [0.0, 0.0]
    assert [round(told["s_squared"], 2) for told in batch.diagnostics] == [0.0, 1.0]
    assert (batch.cycles > 0).all()
    assert replace(batch, diagnostics=()).diagnostics == ()


def test_alflow_label_writes_what_the_engine_tells(alflow, tmp_path):
    frames = [Atoms("H2", hydrogen(distance)) for distance in (0.74, 3.0, 0.1)]
    frames[1].info["multiplicity"] = 1
    ase.io.write(tmp_path / "in.xyz", [*frames, Atoms("U")])
    words = ("--engine", "pyscf", "--set", "basis=STO-3G", "--set", "grid_level=1")
    code, out, err = alflow("label", tmp_path / "in.xyz", "-o", tmp_path / "out.xyz", *words)
    assert code == 0, err
    assert "2 labels, 2 failures" in out
    whole, broken, tight, heavy = ase.io.read(tmp_path / "out.xyz", ":")
    assert whole.info["diagnostic_s_squared"] == pytest.approx(0.0, abs=1e-6)
    assert broken.info["diagnostic_s_squared"] == pytest.approx(1.0, abs=0.01)
    assert broken.get_potential_energy() == engine().compute(Composition(H2), hydrogen(3.0)).energy
    assert tight.info["label_failure"] == "implausible-structure"
    assert heavy.info["label_failure"] == "unknown-element"
    for wrong in ("functional=nonsense", "basis=nonsense", "grid_level=10", "dispersion=d5", "use_gpu=maybe"):
        code, _, err = alflow(
            "label", tmp_path / "in.xyz", "-o", tmp_path / "other.xyz", "--engine", "pyscf", "--set", wrong
        )
        assert code == 2
        assert wrong.split("=")[0] in err
        assert "Traceback" not in err
