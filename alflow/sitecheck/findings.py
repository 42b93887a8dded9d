"""Findings of a site check, from what its workers report: pure functions on plain data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

ENERGY_TOLERANCE_EV = 1e-6
CLOCK_TOLERANCE_S = 1.0
MUST_MATCH = ("python", "alflow", "parsl", "torch", "numpy")
"""Versions that must be the driver's: pickles and weights travel between them. Others may differ with a warning."""


@dataclass(frozen=True)
class WorkerReport:
    """What one worker is."""

    executor: str
    host: str
    pid: int
    rank: str
    versions: dict[str, str]
    cores: tuple[int, ...]
    """Logical cores it may run on."""
    machine_cores: int
    threads: int
    """OMP_NUM_THREADS; 0 if unset."""
    numba_cache: str
    """NUMBA_CACHE_DIR; empty if unset."""
    visible: dict[str, str]
    """Variables that pin it to a GPU."""
    gpus: tuple[str, ...]
    """Devices that torch sees."""
    token: str
    """What it read in the shared run directory."""
    shared_error: str
    wrote: bool
    """Whether the driver saw the file that it wrote there."""
    energy: float | None
    """Of the known structure, eV."""
    theory: str
    label_error: str
    first_label_s: float
    """Time to make the engine and the first label (imports and compilation), s."""
    skew_s: float
    """How far its clock is off the driver's at least, s; 0 if within the time that the task took."""
    ranks: int = 1
    """MPI ranks of a label there."""
    rank_threads: int = 0
    """Threads of each of them; 0 where a label is one process."""
    nodes: tuple[str, ...] = ()
    """Nodes of a label, as the launcher knows them; none where a label is one process."""
    started: int = 0
    """Ranks that the launcher started."""
    started_on: tuple[str, ...] = ()
    """Nodes on which it did."""
    worlds: tuple[int, ...] = ()
    """Sizes of the MPI worlds that the launcher told its ranks of; 0 of none."""
    launch_error: str = ""

    @property
    def name(self) -> str:
        """Where it is, in short."""
        return f"{self.executor} {self.host} rank {self.rank or '-'} (pid {self.pid})"


@dataclass(frozen=True)
class Expected:
    """What every worker should say."""

    versions: dict[str, str]
    energy: float
    theory: str
    token: str
    remote: frozenset[str] = frozenset()
    """Executors whose workers need not see the run directory (behind Globus Compute)."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be."""

    severity: Literal["error", "warning"]
    what: str


def find(reports: Sequence[WorkerReport], expected: Expected) -> tuple[Finding, ...]:
    """Return everything that is wrong, worst first."""
    found = [
        *_wrong_versions(reports, expected),
        *_wrong_labels(reports, expected),
        *_wrong_ranks(reports),
        *_shared_devices(reports),
        *_shared_cores(reports),
        *_no_shared_folder(reports, expected),
        *_wrong_clocks(reports),
    ]
    return tuple(sorted(found, key=lambda finding: finding.severity))


def _wrong_versions(reports: Sequence[WorkerReport], expected: Expected) -> list[Finding]:
    found = []
    for package, wanted in expected.versions.items():
        others: dict[str, list[WorkerReport]] = defaultdict(list)
        for report in reports:
            if report.versions.get(package) != wanted:
                others[report.versions.get(package, "absent")].append(report)
        for version, where in others.items():
            severity: Literal["error", "warning"] = "error" if package in MUST_MATCH else "warning"
            found.append(Finding(severity, f"{package} is {version} on {_places(where)}, {wanted} at the driver."))
    return found


def _wrong_labels(reports: Sequence[WorkerReport], expected: Expected) -> list[Finding]:
    found = []
    for report in reports:
        if report.energy is None:
            found.append(Finding("error", f"The label engine fails on {report.name}: {report.label_error}"))
        elif abs(report.energy - expected.energy) > ENERGY_TOLERANCE_EV:
            found.append(
                Finding(
                    "error",
                    f"The known structure has {expected.energy:.8f} eV; {report.name} gives {report.energy:.8f} eV "
                    f"(off by {report.energy - expected.energy:+.2e}).",
                )
            )
        elif report.theory != expected.theory:
            found.append(
                Finding(
                    "error",
                    f"Labels of one campaign have one theory; {report.name} has another fingerprint than the driver: "
                    "its versions or parameter files differ.",
                )
            )
    return found


def _wrong_ranks(reports: Sequence[WorkerReport]) -> list[Finding]:
    """Find launchers that do not start what a label was to get."""
    found = []
    for report in reports:
        if report.executor != "cpu" or report.ranks < 2:
            continue
        asked = f"A label has {report.ranks} ranks on {', '.join(report.nodes)}; the launcher of {report.name}"
        if report.launch_error or report.started != report.ranks:
            found.append(
                Finding("error", f"{asked} started {report.started}. {report.launch_error}".strip().rstrip(".") + ".")
            )
        elif len(report.started_on) != len(report.nodes):
            found.append(Finding("error", f"{asked} started them on {', '.join(report.started_on)}."))
        elif report.worlds not in ((report.ranks,), (-1,)):
            found.append(
                Finding(
                    "error",
                    f"{asked} started them without telling them of each other: each would be a program of its own. "
                    "Under Slurm choose a kind of MPI (srun --mpi=list) by SLURM_MPI_TYPE in worker_init.",
                )
            )
    return found


def _shared_devices(reports: Sequence[WorkerReport]) -> list[Finding]:
    """Two workers of one host that see the same GPU first."""
    found = []
    users: dict[tuple[str, str], list[WorkerReport]] = defaultdict(list)
    for report in reports:
        if report.executor == "gpu" and report.visible:
            variable, value = next(iter(report.visible.items()))
            device = report.gpus[0] if len(report.gpus) == 1 else f"{variable}={value}"
            users[report.host, device].append(report)
    for (host, device), where in users.items():
        if len(where) > 1:
            found.append(Finding("error", f"{len(where)} GPU workers on {host} share one GPU ({device})."))
    for report in reports:
        if report.executor == "gpu" and report.visible and not report.gpus:
            found.append(
                Finding(
                    "warning",
                    f"{report.name} is pinned to a GPU, and torch sees none there: it would train on cores. "
                    "Install the build of torch for this kind of GPU.",
                )
            )
        elif report.executor == "gpu" and len(report.gpus) > 1:
            found.append(Finding("warning", f"{report.name} sees {len(report.gpus)} GPUs: it is not pinned to one."))
    return found


def _shared_cores(reports: Sequence[WorkerReport]) -> list[Finding]:
    """Warn of more threads on a host than it has cores for its label workers."""
    found = []
    hosts: dict[tuple[str, str], list[WorkerReport]] = defaultdict(list)
    for report in reports:
        hosts[report.executor, report.nodes[0] if report.nodes else report.host].append(report)
    for (executor, host), where in hosts.items():
        cores = len({core for report in where for core in report.cores}) or where[0].machine_cores
        threads = sum(_threads_on_a_node(report) for report in where)
        if threads > cores:
            found.append(
                Finding(
                    "warning",
                    f"{len(where)} workers of executor {executor!r} on {host} have {threads} threads together, and may "
                    f"use {cores} cores.",
                )
            )
    return found


def _threads_on_a_node(report: WorkerReport) -> int:
    """Return the threads of a worker, or of its label on each node of it."""
    if report.nodes:
        return report.ranks // len(report.nodes) * report.rank_threads
    return report.threads or report.machine_cores


def _no_shared_folder(reports: Sequence[WorkerReport], expected: Expected) -> list[Finding]:
    found = []
    for report in reports:
        if report.executor in expected.remote:
            continue
        if report.token != expected.token:
            why = report.shared_error or "it reads another file there"
            found.append(Finding("error", f"{report.name} does not see the run directory: {why}."))
        elif not report.wrote:
            found.append(Finding("error", f"What {report.name} wrote to the run directory does not arrive."))
    return found


def _wrong_clocks(reports: Sequence[WorkerReport]) -> list[Finding]:
    return [
        Finding("warning", f"The clock of {report.name} is {report.skew_s:+.1f} s off the driver's.")
        for report in reports
        if abs(report.skew_s) > CLOCK_TOLERANCE_S
    ]


def _places(reports: Sequence[WorkerReport]) -> str:
    """Name one worker, or count several."""
    if len(reports) == 1:
        return reports[0].name
    hosts = sorted({report.host for report in reports})
    return f"{len(reports)} workers ({', '.join(hosts[:3])}{', ...' if len(hosts) > 3 else ''})"
