"""Calculators that each misbehave in one way: at structures whose atom 0 lies at the place that stands for it.

Everywhere else, and where the misbehaviour is harmless, they give what `pair_model` gives.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    CalculationFailed,
    Calculator,
    PropertyNotImplementedError,
    ReadError,
    SCFError,
    all_changes,
)
from ase.calculators.mixing import SumCalculator

from alflow.labeling.engines.sleep import pair_model
from alflow.structures import alkane

ETHANE = alkane(2)
NUMBERS = ETHANE.numbers
STEP_ANGSTROM = 0.002
"""Atom 0 of the structure that stands for the misbehaviour k lies at x = (k + 1) times this."""


class UnprintableError(Exception):
    def __str__(self):
        raise ValueError("no text")


class OwnExit(BaseException):
    pass


class Flagged:
    """A solver as GPAW and PySCF keep one inside."""

    def __init__(self, converged):
        self.converged = converged


def raiser(make):
    def act(calculator, results):
        raise make()

    return act


def put(**values):
    def act(calculator, results):
        for key, value in values.items():
            results[key] = value(results[key]) if callable(value) else value

    return act


def drop(key):
    return lambda calculator, results: results.pop(key)


def having(**values):
    return lambda calculator, results: [setattr(calculator, key, value) for key, value in values.items()]


def do(act):
    return lambda calculator, results: act()


def ragged(forces):
    return [list(forces[0]), [0.0]]


def masked(forces):
    return np.ma.masked_array(forces, forces > 0)


def leave_a_child():
    child = subprocess.Popen(["sleep", "300"], start_new_session=True)
    with Path(os.environ["CHILDREN"]).open("a") as file:
        file.write(f"{child.pid}\n")


def print_garbage():
    sys.stdout.write("E = -1.0\n" * 1000)
    sys.stdout.flush()
    os.write(1, b"\x00\xff" * 5000)
    os.write(2, b"warning: " * 5000)


def remove_own_folder():
    subprocess.run(["rm", "-rf", Path.cwd()], check=True)


def come_back_from_a_fork():
    if os.fork() == 0:
        time.sleep(0.05)


def throw_in_a_thread():
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()


def alarm_later():
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def recurse():
    return recurse()


def moved(calculator, results):
    calculator.given.positions[1] += (0.3, 0.1, 0.0)


def shifted(calculator, results):
    calculator.given.positions += 5.0


def relaxed(calculator, results):
    calculator.atoms.positions[0] += 0.05


def another_molecule(calculator, results):
    calculator.atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.7]])


def method(value):
    def act(calculator, results):
        calculator.converged = lambda: value

    return act


def needs_arguments(calculator, results):
    calculator.converged = lambda step: False


class Told(Calculator):
    """A part of a sum, which tells by a property that it did not converge."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=(), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))}

    @property
    def converged(self):
        return False


class Inner(Told):
    converged = np.bool_(False)


class AskingFails(Told):
    @property
    def converged(self):
        raise RuntimeError("not yet")


GOOD = "a label"
WAYS = {
    # what is in the place of the energy
    "energy None": ("engine-error", put(energy=None)),
    "energy bool": ("engine-error", put(energy=True)),
    "energy text": ("engine-error", put(energy=str)),
    "energy bytes": ("engine-error", put(energy=lambda e: str(e).encode())),
    "energy complex": ("engine-error", put(energy=lambda e: e + 0.1j)),
    "energy dict": ("engine-error", put(energy=lambda e: {"total": e})),
    "energy two values": ("engine-error", put(energy=lambda e: np.array([e, e]))),
    "energy no value": ("engine-error", put(energy=np.zeros(0))),
    "energy nan": ("not-finite", put(energy=float("nan"))),
    "energy inf": ("not-finite", put(energy=-np.inf)),
    "energy 5e5 eV": ("implausible-label", put(energy=5e5)),
    "energy 4e106 eV": ("implausible-label", put(energy=4e106)),
    "energy -1e6 eV": ("implausible-label", put(energy=-1e6)),
    "energy missing": ("engine-error", drop("energy")),
    "energy array of one": (GOOD, put(energy=lambda e: np.array([[e]]))),
    "energy list of one": (GOOD, put(energy=lambda e: [e])),
    "energy zero-dimensional": (GOOD, put(energy=np.array)),
    "free energy None": (GOOD, put(free_energy=None)),
    # and in that of the forces
    "forces None": ("engine-error", put(forces=None)),
    "forces missing": ("engine-error", drop("forces")),
    "forces of one atom less": ("engine-error", put(forces=lambda f: f[:-1])),
    "forces of one atom more": ("engine-error", put(forces=lambda f: np.vstack([f, f[:1]]))),
    "forces flat": ("engine-error", put(forces=lambda f: f.ravel())),
    "forces transposed": ("engine-error", put(forces=lambda f: f.T)),
    "forces with a leading axis": ("engine-error", put(forces=lambda f: f[None])),
    "forces scalar": ("engine-error", put(forces=0.0)),
    "forces complex": ("engine-error", put(forces=lambda f: f + 1e-3j)),
    "forces text": ("engine-error", put(forces=lambda f: f.astype(str))),
    "forces bool": ("engine-error", put(forces=lambda f: f > 0)),
    "forces object": ("engine-error", put(forces=lambda f: f.astype(object))),
    "forces ragged": ("engine-error", put(forces=ragged)),
    "forces masked": ("engine-error", put(forces=masked)),
    "forces nan": ("not-finite", put(forces=lambda f: f * np.nan)),
    "forces 1e30": ("implausible-label", put(forces=lambda f: f + 1e30)),
    "forces list": (GOOD, put(forces=lambda f: f.tolist())),
    "forces Fortran order": (GOOD, put(forces=np.asfortranarray)),
    # what it raises
    "raises SCFError": ("not-converged", raiser(lambda: SCFError("after 100 cycles"))),
    "raises with several lines": ("engine-error", raiser(lambda: CalculationFailed("step 1\n  E = -1.0\nsee job.out"))),
    "raises and names convergence": ("not-converged", raiser(lambda: RuntimeError("SCF did not\tconverge in 60"))),
    "raises ReadError": ("engine-error", raiser(lambda: ReadError("no energy in job.out"))),
    "raises PropertyNotImplementedError": ("engine-error", raiser(lambda: PropertyNotImplementedError("forces"))),
    "raises ValueError": ("engine-error", raiser(lambda: ValueError("\udcff\x00 broken text"))),
    "raises what has no text": ("engine-error", raiser(UnprintableError)),
    "raises a megabyte": ("engine-error", raiser(lambda: RuntimeError("x" * 1_000_000))),
    "raises MemoryError": ("out-of-memory", raiser(MemoryError)),
    "raises RecursionError": ("engine-error", do(recurse)),
    "raises SystemExit": ("engine-error", do(lambda: sys.exit("no licence"))),
    "raises KeyboardInterrupt": ("engine-error", raiser(KeyboardInterrupt)),
    "raises GeneratorExit": ("engine-error", raiser(GeneratorExit)),
    "raises a BaseException of its own": ("engine-error", raiser(OwnExit)),
    "no program": ("engine-error", do(lambda: subprocess.run(["no-such-program"], check=True))),
    "no program for the shell": ("engine-error", do(lambda: subprocess.run("no-such-program", shell=True, check=True))),
    "program fails": ("engine-error", do(lambda: subprocess.run(["false"], check=True))),
    "asks the terminal": ("engine-error", do(input)),
    # how it ends its process
    "os._exit": ("engine-crash", do(lambda: os._exit(0))),
    "SIGKILL": ("engine-crash", do(lambda: os.kill(os.getpid(), signal.SIGKILL))),
    "SIGTERM": ("engine-crash", do(lambda: os.kill(os.getpid(), signal.SIGTERM))),
    "abort": ("engine-crash", do(os.abort)),
    "closes all descriptors": ("engine-crash", do(lambda: os.closerange(0, 4096))),
    # what it does beside computing
    "prints garbage": (GOOD, do(print_garbage)),
    "closes stdout": (GOOD, do(lambda: os.close(1))),
    "changes the working directory": (GOOD, do(lambda: os.chdir("/"))),
    "removes its folder": (GOOD, do(remove_own_folder)),
    "writes files": (GOOD, do(lambda: Path("result.txt").write_text("1"))),
    "writes a tree": (GOOD, do(lambda: (Path("a/b").mkdir(parents=True), Path("a/b/c").symlink_to("nowhere")))),
    "leaves a child": (GOOD, do(leave_a_child)),
    "leaves an alarm": (GOOD, do(alarm_later)),
    "comes back from a fork": (GOOD, do(come_back_from_a_fork)),
    "fails in a thread": (GOOD, do(throw_in_a_thread)),
    "shifts the structure": (GOOD, shifted),
    "moves an atom": ("engine-error", moved),
    "relaxes": ("engine-error", relaxed),
    "labels another molecule": ("engine-error", another_molecule),
    # how it tells that it did not converge
    "converged false": ("not-converged", having(converged=False)),
    "converged false of numpy": ("not-converged", having(converged=np.bool_(False))),
    "converged 0": ("not-converged", having(converged=0)),
    "converged false for one spin": ("not-converged", having(converged=np.array([True, False]))),
    "result converged false": ("not-converged", put(converged=False)),
    "method converged false": ("not-converged", method(value=False)),
    "solver inside": ("not-converged", having(scf=Flagged(converged=False))),
    "mean field inside": ("not-converged", having(mf=Flagged(converged=False))),
    "wrapped calculator": ("not-converged", having(calc=Told())),
    "wrapped in a list": ("not-converged", having(parts=[AskingFails(), Inner()])),
    "sum of calculators": ("not-converged", lambda c, _: setattr(c, "sum", SumCalculator([AskingFails(), Told()]))),
    "converged true": (GOOD, having(converged=True)),
    "converged None": (GOOD, having(converged=None)),
    "converged unknown": (GOOD, needs_arguments),
    "converged cannot be asked": (GOOD, having(calc=AskingFails())),
    "solver inside converged": (GOOD, having(scf=Flagged(converged=np.bool_(True)))),
}
"""What comes of each way, and what does it: (calculator, results)."""


class Misbehaving(Calculator):
    """One way after the other, as the structure says."""

    implemented_properties = ("energy", "free_energy", "forces", "converged")

    def get_property(self, name, atoms=None, allow_calculation=True):
        self.given = atoms
        return super().get_property(name, atoms, allow_calculation)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        assert not list(Path().iterdir()), "the folder is not clean"
        way = round(atoms.positions[0, 0] / STEP_ANGSTROM) - 1
        energy, forces = pair_model(atoms.numbers, atoms.positions)
        results = {"energy": energy, "free_energy": energy, "forces": forces}
        if 0 <= way < len(WAYS):
            list(WAYS.values())[way][1](self, results)
        if "energy" not in results:
            results.pop("free_energy")
        elif results["free_energy"] is not None:
            results["free_energy"] = results["energy"]
        self.results = results


class WritesFiles(Calculator):
    """Hands its structure to a "program" and reads the answer, as file-based calculators do."""

    implemented_properties = ("energy", "forces")
    where = "cwd"

    def __init__(self, where="cwd", pause_s=0.005, **kwargs):
        super().__init__(**kwargs)
        self.where, self.pause = where, pause_s

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        folder = Path(self.directory if self.where == "directory" else ".")
        if (folder / "out.npz").exists():  # a restart
            data = np.load(folder / "out.npz")
            self.results = {"energy": float(data["energy"]), "forces": data["forces"]}
            return
        np.save(folder / "in.npy", atoms.positions)
        time.sleep(self.pause)
        read = np.load(folder / "in.npy")
        energy, forces = pair_model(atoms.numbers, read)
        np.savez(folder / "out.npz", energy=energy, forces=forces)
        time.sleep(self.pause)
        data = np.load(folder / "out.npz")
        self.results = {"energy": float(data["energy"]), "forces": data["forces"]}


def factory(where="cwd"):
    """Return a calculator; write into the working directory already now."""
    Path("made.txt").write_text("made")
    return SumCalculator([WritesFiles(where), Told2()])


class Told2(Told):
    converged = True


class Hangs(WritesFiles):
    """Writes and does not return where atom 0 was moved; a huge file lies beside."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        if atoms.positions[0, 0] > STEP_ANGSTROM:
            Path("job.out").write_text("cycle 1\n")
            Path("wave.bin").write_bytes(bytes(3_000_000))
            subprocess.Popen(["sleep", "300"], start_new_session=True)
            time.sleep(300)
        super().calculate(atoms, properties, system_changes)


def structure(way: int) -> np.ndarray:
    """Return the structure that stands for a way of misbehaving."""
    positions = ETHANE.positions[0] - ETHANE.positions[0, 0]
    positions[0, 0] = (way + 1) * STEP_ANGSTROM
    return positions
