"""Sweeps: what is written, what it makes, and what is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tinycampaign import TINY

from alflow.config.sweeps import load_sweep, parse_sweep
from alflow.errors import AlflowError, ConfigError


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.mark.parametrize(
    ("text", "values", "suffixes"),
    [
        ("seed=1..3", (1, 2, 3), ("seed1", "seed2", "seed3")),
        ("seed = -1 .. 0", (-1, 0), ("seed-1", "seed0")),
        ("system.carbons=[[4],[5, 6]]", ([4], [5, 6]), ("carbons4", "carbons5-6")),
        ("labels.timeout_s=1.5,20", (1.5, 20), ("timeout_s1.5", "timeout_s20")),
        ("split.kind=random,inherited", ("random", "inherited"), ("kindrandom", "kindinherited")),
        ('split.kind=["random"]', ("random",), ("kindrandom",)),
        (
            "sampling.replicas=[{search = 2, certify = 4}, 3]",
            ({"search": 2, "certify": 4}, 3),
            ("replicassearch-2-certify-4", "replicas3"),
        ),
    ],
)
def test_what_a_sweep_says(text, values, suffixes) -> None:
    sweep = parse_sweep(text)
    assert sweep.values == values
    assert sweep.suffixes == suffixes


def test_several_sweeps_make_each_combination_with_names_of_their_own(campaign) -> None:
    sweeps = [parse_sweep("seed=1..2"), parse_sweep("sampling.replicas=[{search = 20, certify = 30}, 2]")]
    found = load_sweep(campaign, ["iterations=5"], sweeps)
    assert [(one.name, one.seed, one.sampling.replicas.certify) for one in found] == [
        ("tiny-seed1-replicassearch-20-certify-30", 1, 30),
        ("tiny-seed1-replicas2", 1, 2),
        ("tiny-seed2-replicassearch-20-certify-30", 2, 30),
        ("tiny-seed2-replicas2", 2, 2),
    ]
    assert {one.iterations for one in found} == {5}


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["seeed=1..3"], "seeed: this key is unknown; did you mean seed"),
        (["sampling.pull.stepz=1,2"], "sampling.pull.stepz: this key is unknown; did you mean steps"),
        (["seed=1..2", "seed=3..4"], "must be swept once"),
        (["seed=3..1"], "FIRST..LAST, upwards"),
        (["seed=1..100000000"], "at most 200 values"),
        (["seed=1..100", "iterations=1..100"], "at most 200 campaigns"),
        (["seed=1,1"], "each value once"),
        (["seed"], "must read key=FIRST..LAST"),
        (["seed="], "must read key=FIRST..LAST"),
        (["=1..2"], "must read key=FIRST..LAST"),
        (["seed=[]"], "must have values"),
        (["seed=1,,2"], "must have values"),
        (["seed=[1, 2"], "a list as in TOML"),
        (["seed=-2..-1"], "seed: input should be greater than or equal to 0; found -2"),
        (["name=a,b"], "it makes the names itself"),
        (["seed.more=1,2"], "'seed' in 'seed.more=1' is a value"),
    ],
)
def test_a_bad_sweep_is_a_sentence(campaign, texts, words) -> None:
    with pytest.raises(ConfigError, match=r"\S") as refused:
        load_sweep(campaign, ["seed=7"] if "more" in texts[0] else [], [parse_sweep(text) for text in texts])
    assert words in str(refused.value)


@given(key=st.text("abs.ed[]=, ", max_size=8), values=st.text('0123..,[]{}"ab= -', max_size=12))
@settings(max_examples=200, deadline=None)
def test_whatever_is_written_is_a_sweep_or_a_sentence(key, values) -> None:
    with contextlib.suppress(AlflowError):
        sweep = parse_sweep(f"{key}={values}")
        assert len(set(sweep.suffixes)) == len(sweep.values) > 0
