"""When a campaign may end before its last iteration."""

import tomllib
from types import SimpleNamespace

import numpy as np
import pytest
from tinycampaign import TINY

from alflow.campaign.goal import goal_reached
from alflow.campaign.plan import make_plan
from alflow.config.load import validate_campaign
from alflow.runs.records import Estimate

REPLICAS = 10


def goal(stop_when, shifts, cut_short=(), iterations=2):
    """Judge a campaign of two molecules whose pulls are off by so much, a row an iteration, a column a molecule."""
    data = tomllib.loads(TINY)
    data["system"]["carbons"] = [2, 3]
    data["sampling"]["replicas"] = REPLICAS
    data["stop"] = {"stop_when": stop_when, "iterations": iterations}
    settings = validate_campaign(data, "tiny")
    assert make_plan(settings).systems == ("C2", "C3")
    noise = np.random.default_rng(1).normal(0.0, 0.01, (len(shifts), 2, REPLICAS))
    errors = (np.asarray(shifts)[:, :, None] + noise).reshape(len(shifts), -1)
    records = [
        SimpleNamespace(
            barrier_ev=Estimate.of(5.0 + row, alike=False),
            barrier_error_ev=Estimate.of(row),
            replicas=REPLICAS,
            stopped=("left what the ensemble knows" if number in cut_short else "", ""),
        )
        for number, row in enumerate(errors)
    ]
    return goal_reached(records, settings.stop, settings.sampling.replicas)


@pytest.mark.parametrize("stop_when", ["error", "change"])
def test_every_molecule_has_to_rest(stop_when):
    still, opposed = [(0.0, 0.0)] * 3, [(0.0, 0.0), (0.07, -0.07), (-0.07, 0.07)]
    assert goal(stop_when, still)
    assert not goal(stop_when, opposed)
    assert not goal("never", still)
    assert not goal(stop_when, still, iterations=3 if stop_when == "change" else 4)


@pytest.mark.parametrize("stop_when", ["error", "change"])
def test_an_iteration_whose_pulls_ended_early_does_not_count(stop_when):
    still = [(0.0, 0.0)] * 4
    assert goal(stop_when, still, cut_short=(0,))
    assert not goal(stop_when, still, cut_short=(3,))
