"""alflow: active learning of neural network potentials for rare events, as a task graph on Parsl."""

TYPE_CHECKING = False  # type checkers take this name for true; importing typing would be an import
if TYPE_CHECKING:
    from alflow.api import (
        label_file,
        label_frames,
        load_campaign,
        load_ensemble,
        make_engine,
        read_ledger,
        run,
        run_several,
    )

__version__ = "0.1.0"
__all__ = [
    "label_file",
    "label_frames",
    "load_campaign",
    "load_ensemble",
    "make_engine",
    "read_ledger",
    "run",
    "run_several",
]


def __getattr__(name: str) -> object:
    """Import what a name stands for when it is first asked for: `import alflow` imports nothing else."""
    if name not in __all__:
        raise AttributeError(f"module 'alflow' has no attribute {name!r}; it has {', '.join(__all__)}")
    from alflow import api  # noqa: PLC0415

    return getattr(api, name)


def __dir__() -> list[str]:
    """List the names of this module, those that are not imported yet included."""
    return sorted([*globals(), *__all__])
