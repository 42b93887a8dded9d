"""How struck campaigns fared, as a table."""

from __future__ import annotations

from dataclasses import dataclass, field

from scenarios import Scenario


@dataclass
class Result:
    """How a struck campaign fared."""

    scenario: Scenario
    struck_after: float | None = None
    """Seconds; None if the campaign ended before."""
    restarts: int = 0
    seconds: float = 0.0
    survived: bool = False
    lost: int = -1
    paid_twice: int = -1
    equal: bool = False
    orphan_seconds: float = 0.0
    """How long processes outlived a killed driver."""
    notes: list[str] = field(default_factory=list)


def show(results: list[Result]) -> str:
    """Return the table of faults."""
    titles = (
        f"{'fault':<32} {'at s':>6} {'starts':>6} {'survived':>8} {'lost':>5} {'twice':>5} {'equal':>5} {'orphans':>7}"
    )
    lines = [f"{titles} {'seconds':>7}"]
    for result in results:
        at = "never" if result.struck_after is None else f"{result.struck_after:.1f}"
        lines.append(
            f"{result.scenario.name:<32} {at:>6} {1 + result.restarts:>6} {_yes(result.survived):>8} {result.lost:>5} "
            f"{result.paid_twice:>5} {_yes(result.equal):>5} {result.orphan_seconds:>7.1f} "
            f"{result.seconds:>7.0f}  {'; '.join(result.notes)}"
        )
    survived = sum(result.survived for result in results)
    lost, twice = sum(result.lost for result in results), sum(result.paid_twice for result in results)
    equal = sum(result.equal for result in results)
    lines.append(f"{len(results)} faults: {survived} survived, {lost} lost, {twice} paid twice, {equal} equal")
    return "\n".join(lines)


def _yes(value: bool) -> str:
    return "yes" if value else "NO"
