"""Calculators that count, fail in many words, or are interrupted; named by `--set calculator=labelcalculators.NAME`."""

import os
import time
from pathlib import Path

from ase.calculators.calculator import CalculationFailed, all_changes
from ase.calculators.emt import EMT

MANY_WORDS = 'SCF did not converge:\n  cycle 1  E = -1.0\r\n  cycle 2  "E" = {-2.0}\n\nsee C:\\job.out\u2028end'
asked = []
"""Structures that `Counting` was asked for in this process, by the first coordinate."""
interrupt_at = [0]
"""Number of the structure at which it is interrupted; 0 for none."""


class Wordy(EMT):
    """Fails where the first coordinate is above 0.01 Å, in several lines."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        if atoms.positions[0, 0] > 0.01:
            raise CalculationFailed(MANY_WORDS)
        super().calculate(atoms, properties, system_changes)


class Counting(EMT):
    """Writes down what it is asked for, and takes a while where the environment says so."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        asked.append(float(atoms.positions[0, 0]))
        if len(asked) == interrupt_at[0]:
            raise KeyboardInterrupt
        time.sleep(float(os.environ.get("LABEL_SECONDS", "0")))
        if "LABEL_COUNT" in os.environ:
            with Path(os.environ["LABEL_COUNT"]).open("a") as file:
                file.write(f"{asked[-1]!r}\n")
        if atoms.positions[0, 1] > 0.5:
            raise CalculationFailed("too far")
        super().calculate(atoms, properties, system_changes)


class Threaded(EMT):
    """Takes the time of an engine nine tenths of whose work runs on all threads of its worker."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        time.sleep(0.05 * (0.1 + 0.9 / int(os.environ["OMP_NUM_THREADS"])))
        super().calculate(atoms, properties, system_changes)
