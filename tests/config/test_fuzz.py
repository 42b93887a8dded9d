"""A damaged campaign file is accepted or refused with a sentence; it never ends in a traceback."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from alflow.config.campaign import CampaignSettings
from alflow.config.load import load_campaign, to_toml
from alflow.errors import ConfigError

WHOLE = to_toml(CampaignSettings(name="fuzz")).encode()
FILES = 1000
VALUES = (
    "-1", "0", "1", "1e400", "nan", "-inf", "inf", "99999999999999999999999", '""', '"text"', "[]", "[1, 'a']", "{}",
    "{a = {b = 1}}", "true", "1979-05-27", "[[1.0]]", '"dftb3"', '"ase"', '"\\u0000"', "[0, 0]", "0x1F", "1.5",
)  # fmt: skip


def flip_bytes(text: bytes, rng: random.Random) -> bytes:
    changed = bytearray(text)
    for _ in range(rng.randint(1, 5)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def cut(text: bytes, rng: random.Random) -> bytes:
    return text[: rng.randrange(len(text))]


def change_values(text: bytes, rng: random.Random) -> bytes:
    lines = text.decode().splitlines()
    places = [index for index, line in enumerate(lines) if " = " in line]
    for place in rng.sample(places, rng.randint(1, 3)):
        lines[place] = lines[place].split(" = ")[0] + " = " + rng.choice(VALUES)
    return "\n".join(lines).encode()


def rename_key(text: bytes, rng: random.Random) -> bytes:
    lines = text.decode().splitlines()
    place = rng.choice([index for index, line in enumerate(lines) if " = " in line])
    key, value = lines[place].split(" = ", 1)
    spot = rng.randrange(len(key))
    lines[place] = f"{key[:spot]}{rng.choice('abcxyz_')}{key[spot + 1 :]} = {value}"
    return "\n".join(lines).encode()


def shuffle_lines(text: bytes, rng: random.Random) -> bytes:
    lines = text.decode().splitlines()
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return "\n".join(lines).encode()


def repeat_or_drop_line(text: bytes, rng: random.Random) -> bytes:
    lines = text.decode().splitlines()
    place = rng.randrange(len(lines))
    lines[place : place + 1] = [lines[place]] * rng.choice((0, 2))
    return "\n".join(lines).encode()


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip_bytes,
    cut,
    change_values,
    rename_key,
    shuffle_lines,
    repeat_or_drop_line,
)


def test_thousand_damaged_files(tmp_path: Path) -> None:
    rng, path, refused = random.Random(20240314), tmp_path / "campaign.toml", 0
    for number in range(FILES):
        path.write_bytes(MUTATIONS[number % len(MUTATIONS)](WHOLE, rng))
        try:
            assert isinstance(load_campaign(path), CampaignSettings)
        except ConfigError as error:
            refused += 1
            said = str(error)
            assert str(path) in said, f"file {number} is refused without its name: {said}"
            assert all(line.rstrip().endswith((".", "?")) for line in said.splitlines()), f"no sentence: {said}"
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"{type(error).__name__}: {error}\n{path.read_bytes()!r}")
    assert FILES // 2 < refused < FILES


@pytest.mark.parametrize(
    "text", ["=1", "labels.engine", "a.b.c=", "name.x=1", "labels=3", "seed=-1", "x" * 10_000 + "=1"]
)
def test_damaged_override_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "campaign.toml"
    path.write_bytes(WHOLE)
    with pytest.raises(ConfigError):
        load_campaign(path, [text])
