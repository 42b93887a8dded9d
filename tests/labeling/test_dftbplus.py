"""DFTB+ engine: its input, its process and its failures. A script that speaks i-PI stands in for the binary."""

import os
import re
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from alflow.dftb.parameter_sets import THREE_OB
from alflow.errors import ConfigError, LabelError
from alflow.labeling.engines.dftb3 import DFTB3Engine
from alflow.labeling.engines.dftbplus import DFTBPlusEngine, dftbplus_input
from alflow.labeling.guard import GuardedEngine
from alflow.labeling.guard.parent_death import children_of
from alflow.labeling.kinds.dftb import DFTB3Settings, DFTBPlusSettings
from alflow.types import Composition

STAND_IN = """
import re, sys, time
from pathlib import Path
if "--version" in sys.argv:
    print("| DFTB+ version: 24.1-standin")
    sys.exit()
from ase.calculators.socketio import SocketClient
from ase.io import read
from alflow.ase import DFTB3
text = Path("dftb_in.hsd").read_text()
with open("{log}", "a") as log:
    log.write("started\\n")
mode = "{mode}"
if mode == "crash":
    print("ERROR! something is wrong")
    sys.exit(1)
if mode == "scc":
    print("WARNING!\\n-> SCC is NOT converged, maximal SCC iterations exceeded")
    sys.exit(1)
if mode == "silent":
    time.sleep(60)
atoms = read("geometry.gen")
temperature = float(re.search(r"Temperature \\[Kelvin\\] = (\\S+)", text)[1])
atoms.calc = DFTB3(electronic_temperature_k=temperature, charge=int(re.search(r"Charge = (\\S+)", text)[1]))
socket = re.search(r'File = "(.*)"', text)[1]
SocketClient(unixsocket=socket).run(atoms, use_stress=False)
"""


@pytest.fixture
def stand_in(tmp_path):
    def make(mode="works"):
        script = tmp_path / f"{mode}.py"
        script.write_text(STAND_IN.replace("{log}", str(tmp_path / "log")).replace("{mode}", mode))
        return f"{sys.executable} {script}"

    return make


def text_of(settings, numbers=(6, 1, 16), charge=0):
    return dftbplus_input(settings, THREE_OB, Path("/data/3ob"), Composition(np.array(numbers), charge), "sock")


def test_input_says_the_whole_theory():
    text = text_of(DFTBPlusSettings(electronic_temperature_k=300), charge=-1)
    for line in (
        'Prefix = "/data/3ob/"',
        "Charge = -1",
        "Temperature [Kelvin] = 300.0",
        'S = "d"',
        'C = "p"',
        'H = "s"',
        "ThirdOrderFull = Yes",
        "S = -0.11",
        "Damping { Exponent = 4.0 }",
        "SCCTolerance = 1e-07",
        'File = "sock"',
        "Protocol = i-PI {}",
    ):
        assert line in text
    assert text.count("{") == text.count("}")
    assert "Dispersion" not in text


def test_input_follows_the_switches():
    text = text_of(DFTBPlusSettings(third_order=False, hydrogen_damping_zeta=None, dispersion="d3bj"))
    assert "ThirdOrder" not in text
    assert "HubbardDerivs" not in text
    assert "HCorrection" not in text
    assert "SimpleDftD3 { s6 = 1.0; s8 = 3.209; a1 = 0.746; a2 = 4.191 }" in text


def test_a_missing_binary_is_a_clear_error():
    with pytest.raises(ConfigError, match="'no-such-dftb' is not on the PATH"):
        DFTBPlusEngine(DFTBPlusSettings(command="no-such-dftb"))


def test_one_process_serves_a_composition_and_agrees_with_the_embedded_engine(stand_in, tmp_path):
    engine = DFTBPlusEngine(DFTBPlusSettings(command=stand_in(), electronic_temperature_k=500))
    own = DFTB3Engine(DFTB3Settings(electronic_temperature_k=500))
    water = molecule("H2O")
    for positions in (water.positions, water.positions * 1.03):
        ours, theirs = (e.compute(Composition(water.numbers), positions) for e in (own, engine))
        assert theirs.energy == pytest.approx(ours.energy, abs=1e-8)
        assert theirs.forces == pytest.approx(ours.forces, abs=1e-6)
    assert (tmp_path / "log").read_text().count("started") == 1
    ion = engine.compute(Composition(water.numbers, 1), water.positions)
    assert ion.energy == pytest.approx(own.compute(Composition(water.numbers, 1), water.positions).energy, abs=1e-8)
    assert (tmp_path / "log").read_text().count("started") == 2
    process = engine._server.process
    engine.close()
    assert process.poll() is not None


@pytest.mark.parametrize(
    ("mode", "reason", "word"),
    [("crash", "engine-crash", "something is wrong"), ("scc", "not-converged", "SCC"), ("silent", "timeout", "0.7 s")],
)
def test_what_goes_wrong_has_its_reason(stand_in, mode, reason, word):
    engine = DFTBPlusEngine(DFTBPlusSettings(command=stand_in(mode), timeout_s=0.7 if mode == "silent" else 60))
    water = molecule("H2O")
    with pytest.raises(LabelError, match=re.escape(word)) as error:
        engine.compute(Composition(water.numbers), water.positions)
    assert error.value.reason == reason


def test_bad_input_never_reaches_the_binary(stand_in, tmp_path):
    engine = DFTBPlusEngine(DFTBPlusSettings(command=stand_in()))
    for numbers, positions, charge, reason in (
        ([14], [[0, 0, 0]], 0, "unknown-element"),
        ([1], [[0, 0, np.nan]], 0, "implausible-structure"),
        ([1], [[0, 0, 0]], 1, "bad-charge"),
    ):
        with pytest.raises(LabelError) as error:
            engine.compute(Composition(np.array(numbers), charge), np.array(positions, dtype=float))
        assert error.value.reason == reason
    assert not (tmp_path / "log").exists()


def test_the_fingerprint_knows_the_version_and_not_the_path(stand_in, tmp_path):
    command = stand_in()
    shutil.copy(tmp_path / "works.py", tmp_path / "moved.py")
    theory = DFTBPlusEngine(DFTBPlusSettings(command=command)).theory
    assert DFTBPlusEngine(DFTBPlusSettings(command=command.replace("works", "moved"))).theory == theory
    (tmp_path / "moved.py").write_text((tmp_path / "works.py").read_text().replace("24.1", "25.1"))
    assert DFTBPlusEngine(DFTBPlusSettings(command=command.replace("works", "moved"))).theory != theory


def test_outsider_program_of_a_killed_child_leaves_neither_process_nor_folder(stand_in, tmp_path):
    """The child is killed in the middle of a label: DFTB+ and its folder go with it."""
    water = molecule("H2O")
    engine = GuardedEngine("dftbplus", {"command": stand_in("silent")}, timeout_s=100.0)
    work = engine._work.path
    with ThreadPoolExecutor(1) as pool:
        label = pool.submit(engine.compute, Composition(water.numbers), water.positions)
        deadline = time.monotonic() + 60.0
        while not (tmp_path / "log").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert list(work.glob("alflow-dftbplus-*"))
        (program,) = children_of(engine._child.pid)
        os.kill(engine._child.pid, signal.SIGKILL)
        with pytest.raises(LabelError, match="SIGKILL"):
            label.result()
    engine.close()
    assert not work.exists()
    assert not Path(f"/proc/{program}").exists()


@pytest.mark.dftbplus
def test_the_real_binary_agrees_with_the_embedded_engine():
    if shutil.which("dftb+") is None:
        pytest.skip("the dftb+ binary is not on the PATH")
    methane = molecule("CH4")
    theirs = DFTBPlusEngine(DFTBPlusSettings(scc_tolerance=1e-9)).compute(
        Composition(methane.numbers), methane.positions
    )
    ours = DFTB3Engine(DFTB3Settings()).compute(Composition(methane.numbers), methane.positions)
    assert theirs.energy == pytest.approx(ours.energy, abs=1e-5)
    assert theirs.forces == pytest.approx(ours.forces, abs=1e-4)
