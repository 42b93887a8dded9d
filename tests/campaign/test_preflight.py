"""What is refused before anything is submitted."""

import tomllib
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tinycampaign import TINY

from alflow.campaign.plan import make_plan
from alflow.campaign.preflight import check_campaign
from alflow.config.load import validate_campaign
from alflow.errors import ConfigError


def plan_of(order):
    settings = tomllib.loads(TINY)
    settings["selection"]["cap_order"] = order
    return make_plan(validate_campaign(settings, "tiny"))


def changing(plan, by):
    """Return the plan with a coordinate that changes by so much in the place of its own."""
    steering = SimpleNamespace(kind="angle", settings=None)
    steering.bind = lambda _: SimpleNamespace(planned_change=lambda _: by, unit="°")
    steering.in_window = lambda _: steering
    pulls = tuple(replace(spec, molecule=replace(spec.molecule, steering=steering)) for spec in plan.pulls)
    return replace(plan, pulls=pulls)


def test_progress_is_of_coordinates_that_are_taken_somewhere():
    assert check_campaign(plan_of("progress")).theory
    assert check_campaign(changing(plan_of("progress"), -2.0)).theory
    with pytest.raises(ConfigError, match="'progress' is for coordinates that are taken from one place to another; th"):
        check_campaign(changing(plan_of("progress"), 0.0))
    assert check_campaign(changing(plan_of("spread"), 0.0)).theory


def test_a_start_that_cannot_be_labelled_is_named():
    settings = tomllib.loads(TINY) | {"labels": {"engine": "dftb3"}}
    settings["system"] = {"carbons": [2], "charge": 40}
    with pytest.raises(ConfigError, match="cannot label C2: bad-charge"):
        check_campaign(make_plan(validate_campaign(settings, "tiny")))
