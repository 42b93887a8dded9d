"""What one label gets of a site's nodes: cores, MPI ranks, nodes and GPUs; and how many labels run side by side.

The one module of alflow that site files import: it does the arithmetic that all of them would have to do.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

LAUNCHERS = ("srun", "mpich", "openmpi", "pals")
"""Programs that start ranks: Slurm's, MPICH's `mpiexec`, Open MPI's `mpirun`, and that of HPE's PALS."""
HOSTS_OF_SLURM = 'scontrol show hostnames "$SLURM_JOB_NODELIST"'
HOSTS_OF_PBS = "awk '!seen[$0]++' \"$PBS_NODEFILE\""
_THREADS = "export OMP_NUM_THREADS={0} MKL_NUM_THREADS={0} OPENBLAS_NUM_THREADS={0} NUMBA_NUM_THREADS={0}"


@dataclass(frozen=True)
class LabelShare:
    """What each label gets, and what a pool of label workers is made of: one worker a label."""

    workers: int
    """Of one pool."""
    cores: int
    """Of a label, on all its nodes."""
    ranks: int
    nodes: int
    on_first_node: bool
    """Whether one pool serves all nodes of a job from the first of them; else each node has a pool of its own."""
    slots: tuple[tuple[int, ...], ...]
    """Numbers of the cores of each label of a node."""
    accelerators: tuple[str, ...] = ()
    """GPUs of each worker of a pool, as CUDA_VISIBLE_DEVICES names them; empty where labels have none of their own."""

    @property
    def threads(self) -> int:
        """Threads of each rank."""
        return self.cores // self.ranks

    @property
    def launched(self) -> bool:
        """Whether a label is several ranks, which a launcher starts."""
        return self.ranks > 1

    @property
    def affinity(self) -> str:
        """Cores of the workers of a pool, as Parsl takes them."""
        return "none" if self.on_first_node else "list:" + core_lists(self.slots)

    def exports(self, launcher: str, hosts: str = "", *, bound: bool = True) -> list[str]:
        """Return shell lines, for `worker_init`: threads of a rank, and what alflow makes a launch prefix from.

        Args:
            launcher: one of `LAUNCHERS`, or a command with {ranks} in it.
            hosts: command that prints the nodes of a job, one a line.
            bound: whether ranks are bound to the cores of their label.

        Raises:
            ValueError: there is no such launcher.
        """
        if launcher not in LAUNCHERS and "{ranks}" not in launcher:
            raise ValueError(
                f"launcher is one of {', '.join(LAUNCHERS)}, or a command with {{ranks}} in it; got {launcher!r}"
            )
        lines = [_THREADS.format(self.threads)]
        if self.launched:
            counts = f"ALFLOW_RANKS={self.ranks} ALFLOW_CORES={self.threads} ALFLOW_NODES={self.nodes}"
            lines.append(f"export ALFLOW_LAUNCHER={shlex.quote(launcher)} {counts}")
            if bound:
                lines.append(f"export ALFLOW_SLOTS={core_lists(self.slots)}")
            if self.on_first_node:
                lines.append(f'export ALFLOW_HOSTS="$({hosts} | paste -sd " ")"')
        return lines


def label_share(
    node: str,
    cores: Sequence[int],
    *,
    cores_per_label: int | None = None,
    ranks_per_label: int = 1,
    nodes_per_label: int = 1,
    gpus_per_label: int = 0,
    gpus: Sequence[str] = (),
    cores_per_gpu: int = 0,
    nodes_per_block: int = 1,
    from_first_node: bool = False,
) -> LabelShare:
    """Divide nodes among labels.

    Args:
        node: what a node is called in messages.
        cores: numbers of the cores of a node that labels may use.
        cores_per_label: of one label, on all its nodes; without, one a rank or those of its GPUs, and whole nodes where
            it has several.
        ranks_per_label: MPI ranks of one label, on all its nodes.
        nodes_per_label: nodes of one label.
        gpus_per_label: GPUs of one label, on all its nodes.
        gpus: names of the GPUs of a node.
        cores_per_gpu: cores that a label has with each of its GPUs where nothing else is said.
        nodes_per_block: nodes of a job.
        from_first_node: whether ranks can be started from the first node of a job alone.

    Raises:
        ValueError: a node has not what is asked for, or it does not divide evenly.
    """
    _check_nodes(ranks_per_label, nodes_per_label, nodes_per_block)
    ranks_here = ranks_per_label // nodes_per_label
    gpus_here = _gpus_here(node, len(gpus), gpus_per_label, nodes_per_label)
    _check_cores(node, len(cores), cores_per_label, ranks_per_label, nodes_per_label)
    most = len(cores) // ranks_here * ranks_here
    usual = max(ranks_here, min(most, cores_per_gpu * gpus_here // ranks_here * ranks_here))
    cores_here = cores_per_label // nodes_per_label if cores_per_label else usual if nodes_per_label == 1 else most
    labels = len(cores) // cores_here if nodes_per_label == 1 else 1
    labels = min(labels, len(gpus) // gpus_here) if gpus_here else labels
    slots = tuple(tuple(cores[label * cores_here : (label + 1) * cores_here]) for label in range(labels))
    first = nodes_per_label > 1 or (from_first_node and ranks_here > 1 and nodes_per_block > 1)
    groups = nodes_per_block // nodes_per_label if first else 1
    sets = [",".join(gpus[label * gpus_here : (label + 1) * gpus_here]) for label in range(labels)] if gpus_here else []
    return LabelShare(
        workers=labels * groups,
        cores=cores_here * nodes_per_label,
        ranks=ranks_per_label,
        nodes=nodes_per_label,
        on_first_node=first,
        slots=slots,
        accelerators=tuple(sets * groups),
    )


def core_lists(slots: Sequence[Sequence[int]]) -> str:
    """Write (0, 1, 2, 3), (4, 6) as 0-3:4,6."""
    return ":".join(_ranges(slot) for slot in slots)


def _check_nodes(ranks: int, nodes: int, nodes_per_block: int) -> None:
    if ranks % nodes:
        raise ValueError(
            f"a label has as many ranks on each of its nodes, at least one; got ranks_per_label={ranks} and "
            f"nodes_per_label={nodes}"
        )
    if nodes_per_block % nodes:
        raise ValueError(
            f"a job has the nodes of one label or of several; got nodes_per_block={nodes_per_block} and "
            f"nodes_per_label={nodes}"
        )


def _check_cores(node: str, available: int, asked: int | None, ranks: int, nodes: int) -> None:
    where = f" on {nodes} nodes" if nodes > 1 else ""
    if ranks // nodes > available:
        raise ValueError(
            f"a rank has a core at least, and {node} has {available} cores; got ranks_per_label={ranks}{where}"
        )
    if asked is not None and asked > available * nodes:
        raise ValueError(
            f"a label has the cores of its nodes, and {node} has {available}; got cores_per_label={asked}{where}"
        )
    if asked is not None and asked % ranks:
        raise ValueError(
            f"each rank of a label has as many cores, at least one; got cores_per_label={asked} and "
            f"ranks_per_label={ranks}"
        )


def _gpus_here(node: str, available: int, asked: int, nodes: int) -> int:
    """Return the GPUs of a label on each of its nodes."""
    if asked % nodes:
        raise ValueError(
            f"a label has as many GPUs on each of its nodes; got gpus_per_label={asked} and nodes_per_label={nodes}"
        )
    if asked > available * nodes:
        raise ValueError(
            f"a label has the GPUs of its nodes, and {node} has {available}; got gpus_per_label={asked}"
            + (f" on {nodes} nodes" if nodes > 1 else "")
        )
    return asked // nodes


def _ranges(cores: Sequence[int]) -> str:
    parts: list[list[int]] = []
    for core in cores:
        if parts and core == parts[-1][-1] + 1:
            parts[-1].append(core)
        else:
            parts.append([core])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)
