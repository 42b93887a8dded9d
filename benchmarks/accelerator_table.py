"""Readable tables from the figures of `benchmarks/accelerator.py`.

    python benchmarks/accelerator_table.py accelerator.json [--into benchmarks/RESULTS.md]

Prints them, or puts them between the two marks of a Markdown file.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

Row = dict[str, float | str]
Found = Mapping[tuple[str, str], Row]
MARKS = "<!-- tables of accelerator_table.py -->", "<!-- end of the tables -->"
EVALUATIONS = re.compile(r"force evaluations, C(\d+), (.+)")
EPOCH = re.compile(r"epoch of (\d+) frames, (\d+) member\(s\), batches of (\d+)")
TOGETHER = re.compile(r"(\d+) frames|pull of (\d+)")


def tables(rows: list[Row], machine: Row) -> str:
    """Return all tables in Markdown."""
    found = {(str(row["what"]), str(row["side"])): row for row in rows}
    parts = [heading(machine), trainings(found), evaluations(found), variants(found), failures(rows)]
    return "\n".join(part for part in parts if part)


def heading(machine: Row) -> str:
    """Return a line on the machine."""
    if not machine:
        return ""
    versions = ", ".join(f"{name} {machine[name]}" for name in ("python", "torch", "numba", "numpy"))
    return f"{machine['device']}; {float(machine['cores']):.0f} cores ({machine['processor']}); {versions}.\n"


def number(value: float | str | None) -> str:
    """Return three digits of a number, and nothing for what was not measured."""
    if value is None or value == "":
        return ""
    size = float(value)
    return f"{size:,.0f}".replace(",", " ") if size >= 100 else f"{size:.3g}"


def table(columns: list[str], rows: Iterable[list[str]]) -> str:
    """Return a table in Markdown; nothing where it has no rows."""
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join(["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|", *lines, ""]) if lines else ""


def best(found: Found, what: str, sides: tuple[str, ...], key: str = "per second") -> float | None:
    """Return the largest figure of several sides."""
    figures = [float(found[what, side][key]) for side in sides if key in found.get((what, side), {})]
    return max(figures, default=None)


def ratio(one: float | None, other: float | None) -> str:
    """Return one over the other to two digits."""
    return f"**{one / other:.2g}**" if one and other else ""


def trainings(found: Found) -> str:
    """Return the epochs: ms by each side."""
    whats = list(dict.fromkeys(what for what, _ in found if EPOCH.match(what)))
    if not whats:
        return ""
    lines, frames = [], ""
    for what in whats:
        frames, members, batch = EPOCH.match(what).groups()  # type: ignore[union-attr]
        sides = ("cores, one", "cores, all", "eager", "graph")
        times = [number(found.get((what, side), {}).get("milliseconds")) for side in sides]
        gain = ratio(best(found, what, sides[2:]), best(found, what, sides[:2]))
        graph = ratio(best(found, what, ("graph",)), best(found, what, ("eager",)))
        memory = best(found, what, sides[2:], "gigabytes")
        lines.append([members, batch, *times, graph, gain, number(memory)])
    columns = ["members", "batch", "one core", "all cores", "device, eager", "device, graph"]
    columns += ["graph : eager", "device : cores", "GB"]
    return f"**Training: an epoch over {frames} frames of hexane, ms.**\n\n" + table(columns, lines)


def evaluations(found: Found) -> str:
    """Return evaluations and pulls by molecule, members and number of structures."""
    lines = []
    for what in dict.fromkeys(what for what, _ in found if EVALUATIONS.match(what)):
        carbons, members = EVALUATIONS.match(what).groups()  # type: ignore[union-attr]
        cores = best(found, what, ("cores, one", "cores, all"))
        matches = [TOGETHER.match(side) for other, side in found if other == what]
        for count in dict.fromkeys(match[1] or match[2] for match in matches if match):
            graph, eager = (found.get((what, f"{count} frames, {side}"), {}) for side in ("graph", "eager"))
            pull = found.get((what, f"pull of {count}, graph"), found.get((what, f"pull of {count}, eager"), {}))
            chosen = graph or eager
            rate, steps = (float(row.get("per second", 0.0)) for row in (chosen, pull))
            line = [f"C{carbons}", members, count, number(cores)]
            line += [number(row.get("milliseconds")) for row in (eager, graph)] + [number(rate or None)]
            line += [ratio(rate, cores), number(pull.get("milliseconds")), number(steps or None), ratio(steps, cores)]
            lines.append([*line, number(pull.get("gigabytes", chosen.get("gigabytes")))])
    columns = ["alkane", "ensemble", "together", "cores, a second", "eager, ms", "graph, ms", "a second", ": cores"]
    columns += ["pull, ms a step", "replicas · steps a second", ": cores", "GB"]
    found_any = table(columns, lines)
    return "**Energies with forces, and pulls that advance together.**\n\n" + found_any if found_any else ""


def variants(found: Found) -> str:
    """Return the other ways of an evaluation."""
    lines = []
    for (what, side), row in found.items():
        count, _, name = side.partition(", ")
        if "," not in name or not TOGETHER.match(side) or "milliseconds" not in row:
            continue
        plain = best(found, what, (f"{count}, graph", f"{count}, eager"))
        gain = ratio(best(found, what, (side,)), plain)
        error = f"{float(row['force error']):.0e}" if "force error" in row else ""
        lines.append([what.removeprefix("force evaluations, "), count, name, number(row["milliseconds"]), gain, error])
        lines[-1].append(number(row.get("first call, s")))
    columns = ["of", "together", "way", "ms", ": plain", "largest force error", "first call, s"]
    found_any = table(columns, lines)
    return "**Other ways of the same.**\n\n" + found_any if found_any else ""


def failures(rows: list[Row]) -> str:
    """Return what was not measured, and why."""
    lines = [
        f"- {row['what']}, {row['side']}: {' '.join(str(row['failed']).split())}" for row in rows if "failed" in row
    ]
    return "**Not measured.**\n\n" + "\n".join([*lines, ""]) if lines else ""


def put_into(target: Path, text: str) -> None:
    """Put the tables between the marks of a file.

    Raises:
        SystemExit: the file has no marks.
    """
    before, start, rest = target.read_text().partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not start or not end:
        raise SystemExit(f"Tables go between {MARKS[0]!r} and {MARKS[1]!r}: {target} has not both.")
    target.write_text(f"{before}{start}\n{text}{end}{after}")


def main() -> None:
    """Print the tables of a file of figures, or put them into a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("json", type=Path, help="figures of accelerator.py")
    parser.add_argument("--into", type=Path, help="Markdown file with the two marks")
    options = parser.parse_args()
    figures = json.loads(options.json.read_text())
    text = tables(figures["rows"], figures["machine"])
    if options.into:
        put_into(options.into, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
