"""Random streams that depend on where they are used, not on what ran before."""

from __future__ import annotations

import hashlib

import numpy as np


def seed_sequence(campaign_seed: int, iteration: int, stage: str, *index: int) -> np.random.SeedSequence:
    """Return the seed of one place in a campaign.

    The stage's name enters by its SHA-256 (Python's own hash differs from process to process). Each part goes in with
    its length, so that no two places share a seed.

    Args:
        campaign_seed: Seed of the campaign, ≥ 0.
        iteration: Iteration, ≥ 0.
        stage: Name of the stage.
        *index: Member, replica, frame or the like, each ≥ 0.
    """
    digest = hashlib.sha256(stage.encode()).digest()
    words = [int(word) for word in np.frombuffer(digest, dtype="<u4")]
    parts = [_words(campaign_seed), _words(iteration), words, *(_words(part) for part in index)]
    return np.random.SeedSequence([number for part in parts for number in (len(part), *part)])


def generator(campaign_seed: int, iteration: int, stage: str, *index: int) -> np.random.Generator:
    """Return the generator of one place in a campaign; the arguments are those of `seed_sequence`."""
    return np.random.Generator(np.random.PCG64(seed_sequence(campaign_seed, iteration, stage, *index)))


def integer_seed(campaign_seed: int, iteration: int, stage: str, *index: int) -> int:
    """Return a seed for a program that takes one positive 31-bit integer (LAMMPS); arguments as above."""
    return int(seed_sequence(campaign_seed, iteration, stage, *index).generate_state(1)[0] % (2**31 - 1)) + 1


def _words(value: int) -> list[int]:
    """Return a non-negative integer as 32-bit words, lowest first."""
    if value < 0:
        raise ValueError(f"a seed and its indices are not negative; found {value}")
    words = [value & 0xFFFFFFFF]
    while value := value >> 32:
        words.append(value & 0xFFFFFFFF)
    return words
