"""Campaigns that start from files or from a base, in seconds: EMT, and EMT scaled and moved, stand for two theories."""

import functools
import tomllib
from dataclasses import replace

from tinycampaign import TINY

from alflow.campaign.launch import launch
from alflow.config.load import validate_campaign
from alflow.display.view import Silent
from alflow.execution import graph
from alflow.ledger import LedgerReader
from alflow.runs.directory import RunDirectory

CHEAP = {"calculator": "ase.calculators.emt.EMT"}
EXPENSIVE = {"calculator": "basecampaigns.dearer_emt"}
"""EMT with its energies scaled and moved: another theory of the same shape."""


def dearer_emt():
    """Return the calculator of the expensive theory."""
    from ase.calculators.emt import EMT

    class DearerEMT(EMT):
        def calculate(self, *arguments, **keywords):
            super().calculate(*arguments, **keywords)
            for name in ("energy", "free_energy", "energies", "forces"):
                if name in self.results:
                    self.results[name] = self.results[name] * 1.1
            for name in ("energy", "free_energy"):
                if name in self.results:
                    self.results[name] = self.results[name] - 100.0

    return DearerEMT()


def settings_with(**changes):
    """Return the tiny campaign with changes: `sampling__pull__steps=60`."""
    data = tomllib.loads(TINY)
    for key, value in changes.items():
        table = data
        *parents, last = key.split("__")
        for parent in parents:
            table = table.setdefault(parent, {})
        table[last] = value
    return validate_campaign(data, "tiny")


def fail_at_call(patched, what, number):
    """Let a kind of task fail once."""
    calls, submit, wrapped = [], graph.TaskGraph.submit, {}

    def failing(function):
        @functools.wraps(function)
        def fails(*arguments, **keywords):
            calls.append(what)
            if len(calls) == number:
                raise RuntimeError("planted")
            return function(*arguments, **keywords)

        return wrapped.setdefault(function, fails)

    def submit_failing(self, call, handler, **detail):
        chosen = replace(call, function=failing(call.function)) if call.what == what else call
        return submit(self, chosen, handler, **detail)

    patched.setattr(graph.TaskGraph, "submit", submit_failing)


def run(path, workers=1, **changes):
    """Run a campaign; return what it gave."""
    launch(settings_with(**changes), "local", {"kind": "threads", "workers": str(workers)}, path, Silent())
    return result(path)


def result(path):
    """Return the digest of the labels, and what was committed."""
    found = RunDirectory(path)
    with LedgerReader.open(found.ledger) as ledger:
        digest = ledger.digest()
    return digest, [(one.barrier_ev, one.energy_rmse_ev, one.threshold) for one in found.records()]
