"""A calculator without memory is kept for all structures; the version of a program is a part of the theory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import ions
import numpy as np
import pytest

from alflow.errors import InputError, LabelError
from alflow.labeling.engines import calculators
from alflow.labeling.engines.ase import ASEEngine
from alflow.labeling.frames import label_frames
from alflow.labeling.guard import GuardedEngine
from alflow.labeling.kinds.ase import ASECalculatorSettings
from alflow.structures import alkane
from alflow.types import Composition, Frames

HERE = Path(ions.__file__).parent
ETHANE = alkane(2)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("PYTHONPATH", f"{HERE}:{os.environ.get('PYTHONPATH', '')}")


def chosen(calculator="ions.Ion", **given) -> ASECalculatorSettings:
    return ASECalculatorSettings(calculator=calculator, **given)


def frames(count: int) -> Frames:
    noise = np.random.default_rng(count).uniform(-0.05, 0.05, (count, *ETHANE.positions[0].shape))
    return Frames.of(ETHANE.numbers, ETHANE.positions[0] + noise)


@pytest.mark.parametrize("name", ["ions.Ion", "ions.Forgetting", "misbehaving.WritesFiles", "ase.calculators.emt.EMT"])
def test_a_kept_calculator_gives_what_new_ones_give(name):
    asked = frames(5)
    kept, anew = ASEEngine(chosen(name, reuse=True)), ASEEngine(chosen(name))
    found, expected = label_frames(kept, asked), label_frames(anew, asked)
    kept.close()
    assert found.failures == expected.failures == ()
    assert found.labels.energies.tobytes() == expected.labels.energies.tobytes()
    assert found.labels.forces.tobytes() == expected.labels.forces.tobytes()


def test_one_calculator_is_made_for_all_structures_of_a_charge():
    engine = ASEEngine(chosen(reuse=True, charge_argument="charge"))
    ions.made.clear()
    for charge in (0, 0, 0, 1, 1, 1):
        engine.compute(Composition(ETHANE.numbers, charge, 2 - (charge == 0)) if charge == 0 else
                       Composition(ETHANE.numbers, charge), ETHANE.positions[0])  # fmt: skip
    assert len(ions.made) == 2


@pytest.mark.parametrize("share", [1e-12, 1e-9, 1e-3])
def test_a_calculator_that_remembers_is_refused(share):
    engine = ASEEngine(chosen("ions.Remembering", reuse=True, arguments={"share": share}))
    with pytest.raises(LabelError, match=r"Set reuse = false") as caught:
        engine.compute(ETHANE.composition, ETHANE.positions[0])
    assert caught.value.reason == "engine-error"


def test_the_self_consistent_engine_of_the_package_is_refused_as_one_that_remembers():
    with pytest.raises(LabelError, match=r"Set reuse = false"):
        ASEEngine(chosen("alflow.ase.DFTB3", reuse=True)).compute(ETHANE.composition, ETHANE.positions[0])


def test_noise_below_the_tolerance_is_allowed():
    engine = ASEEngine(chosen("ions.Remembering", reuse=True, reuse_tolerance=1e-6, arguments={"share": 1e-9}))
    assert engine.compute(ETHANE.composition, ETHANE.positions[0]).energy


def test_a_calculator_that_failed_is_not_used_again():
    engine = ASEEngine(chosen("ions.Delicate", reuse=True))
    lifted = ETHANE.positions[0] - ETHANE.positions[0, 0]
    lifted[0, 2] += 1.1
    ions.made.clear()
    asked = Frames.of(ETHANE.numbers, np.array([frames(1).positions[0], lifted, frames(2).positions[0]]))
    batch = label_frames(engine, asked)
    assert [failure.frame for failure in batch.failures] == [1]
    assert len(ions.made) == 2


def test_a_kept_calculator_dies_and_is_made_again_in_the_guarded_process():
    engine = GuardedEngine("ase", {"calculator": "ions.Deadly", "reuse": True}, 600.0)
    home = ETHANE.positions[0] - ETHANE.positions[0, 0]
    away = home + np.array([0.0, 0.0, 1.1])
    batch = label_frames(engine, Frames.of(ETHANE.numbers, np.array([home, away, home])))
    engine.close()
    assert [(failure.frame, failure.reason) for failure in batch.failures] == [(1, "engine-crash")]
    assert batch.labels.energies[0] == batch.labels.energies[1]


def command(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-c", *words)


def test_the_version_of_the_program_is_a_part_of_the_theory():
    theories = [
        ASEEngine(chosen(version_command=command(f"print({text!r})"))).theory for text in ("1.0", "1.1", " 1.0\n\n")
    ]
    assert theories[0] != theories[1]
    assert theories[0] == theories[2]
    assert ASEEngine(chosen()).theory not in theories
    on_stderr = ASEEngine(chosen(version_command=command("import sys; print('1.0', file=sys.stderr)")))
    assert on_stderr.theory == theories[0]


def test_the_version_command_leaves_nothing_and_finds_relative_programs(tmp_path, monkeypatch):
    program = tmp_path / "version.sh"
    program.write_text("#!/bin/sh\necho 7 > left-over\necho 7\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert ASEEngine(chosen(version_command=("./version.sh",))).theory
    assert [path.name for path in tmp_path.iterdir()] == ["version.sh"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("no-such-program-at-all", "-v"), r"no-such-program-at-all -v cannot be started .*PATH"),
        (("/",), r"cannot be started"),
        (("a\0b",), r"cannot be started"),
        (command("print('no licence'); raise SystemExit(3)"), r"ended with exit code 3: no licence"),
        (command("raise SystemExit(1)"), r"exit code 1: it printed nothing"),
        (command("pass"), "printed nothing"),
        (command("print('   ')"), "printed nothing"),
        (command("import os; os.abort()"), "exit code -6"),
        (command("import time, subprocess; subprocess.Popen(['sleep', '300']); time.sleep(300)"), "did not end within"),
    ],
)
def test_a_version_that_cannot_be_told_is_a_sentence(monkeypatch, words, message):
    monkeypatch.setattr(calculators, "VERSION_TIMEOUT_S", 1.0)
    with pytest.raises(InputError, match=message):
        ASEEngine(chosen(version_command=words))


def test_a_version_that_cannot_be_told_is_the_same_sentence_from_the_guarded_process():
    settings = chosen(version_command=("no-such-program-at-all",))
    with pytest.raises(InputError, match="no-such-program-at-all cannot be started"):
        GuardedEngine("ase", settings.model_dump(mode="json"), 60.0)
