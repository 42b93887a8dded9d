"""A campaign is refused where a block of the site does not live as long as one of its tasks."""

from __future__ import annotations

import tomllib
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tinycampaign import TINY

from alflow.campaign.fits import QUICKER, check_fits
from alflow.campaign.plan import make_plan
from alflow.config.load import validate_campaign
from alflow.errors import SiteError

PLAN = make_plan(validate_campaign(tomllib.loads(TINY), "tiny"))
LONGEST = 40
"""Evaluations of the longest task of that campaign: its relaxation."""


def executor(walltime: str | None, label: str = "cpu") -> SimpleNamespace:
    return SimpleNamespace(label=label, provider=SimpleNamespace(walltime=walltime))


@given(seconds=st.floats(1e-4, 1e4), walltime=st.integers(1, 86399))
@settings(max_examples=100, deadline=None)
def test_what_fits_passes_and_what_never_can_is_a_sentence(seconds, walltime) -> None:
    text = f"{walltime // 3600:02d}:{walltime // 60 % 60:02d}:{walltime % 60:02d}"
    if seconds * LONGEST <= QUICKER * walltime:
        check_fits(PLAN, [executor(text)], seconds, "mysite")
        return
    with pytest.raises(SiteError, match="A block must live longer than a task of the campaign takes; a") as refused:
        check_fits(PLAN, [executor(text)], seconds, "mysite")
    assert f"'mysite' lives {walltime} s" in str(refused.value)


@pytest.mark.parametrize(
    ("seconds", "words"), [(5.0, "set fewer steps in sampling.relax"), (1e3, "a label takes about 1000 s here")]
)
def test_the_sentence_says_what_to_do(seconds, words) -> None:
    with pytest.raises(SiteError, match=words):
        check_fits(PLAN, [executor("00:00:40")], seconds, "mysite")


@pytest.mark.parametrize(
    "found", [executor(None), executor("tomorrow"), executor("00:00:01", "gpu"), SimpleNamespace(label="cpu")]
)
def test_what_has_no_walltime_for_labels_is_not_judged(found) -> None:
    check_fits(PLAN, [found], 1e6, "mysite")
