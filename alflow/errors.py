"""Everything that alflow raises on purpose.

::

    AlflowError
     ├── InputError          what the user gave breaks a rule; nothing was submitted (exit code 2)
     │    ├── ConfigError    a campaign file or one of its keys
     │    ├── PluginError    a label engine, potential, coordinate or file format that is not to be had
     │    ├── SiteError      a site file or one of its options
     │    └── StructureError a molecule, an element, an atom index
     ├── ParameterError      a parameter set is missing or changed
     ├── LabelError          one structure could not be labelled (becomes a LabelFailure row)
     ├── EngineLostError     a label engine hung or died under a trajectory, twice at one structure
     ├── CanaryError         a worker gives wrong numbers or is far too slow
     ├── TrainingError       a training cannot go on (no data, loss not finite)
     ├── RunError            a run directory: locked, of another campaign, damaged
     ├── CampaignError       a campaign had to end (too many failures, an executor that is gone)
     └── TerminatedError     the driver was asked to end (SIGTERM)

A message is one sentence or two: the rule, the value found, where, and what to do.
"""

from __future__ import annotations

from typing import Literal, get_args

FailureReason = Literal[
    "not-converged",
    "implausible-structure",
    "unknown-element",
    "bad-charge",
    "bad-multiplicity",
    "bad-parameters",
    "not-finite",
    "implausible-label",
    "energy-outlier",
    "engine-error",
    "engine-crash",
    "timeout",
    "out-of-memory",
    "removed",
]
"""Why a structure has no label. A closed list: reports count by it."""

FAILURE_REASONS: tuple[str, ...] = get_args(FailureReason)


class AlflowError(Exception):
    """Root of the tree above."""


class InputError(AlflowError):
    """What the user gave breaks a rule."""


class ConfigError(InputError):
    """A campaign file breaks a rule."""


class PluginError(InputError):
    """A kind of engine, potential, coordinate or format is unknown, offered twice, or cannot be imported."""


class SiteError(InputError):
    """A site file or one of its options breaks a rule."""


class StructureError(InputError):
    """A structure, an element or an atom index breaks a rule."""


class ParameterError(AlflowError):
    """A parameter set is missing, incomplete or not what its hash says."""


class LabelError(AlflowError):
    """One structure could not be labelled."""

    def __init__(self, reason: FailureReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: FailureReason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class EngineLostError(AlflowError):
    """A label engine hung, died or failed by itself under a trajectory, twice at one structure."""


class RelaxationError(AlflowError):
    """A relaxation could not be run to its end."""


class CanaryError(AlflowError):
    """A worker gives wrong numbers, or is far too slow, and must not label."""

    def __init__(self, message: str, pool: str = "") -> None:
        super().__init__(message, pool)
        self.message = message
        self.pool = pool
        """Identifier of the worker pool that it belongs to; empty where there is none."""

    def __str__(self) -> str:
        return self.message


class TrainingError(AlflowError):
    """A training cannot go on."""


class RunError(AlflowError):
    """A run directory is locked, damaged, or belongs to another campaign."""


class CampaignError(AlflowError):
    """A campaign had to end before its last iteration."""


class TerminatedError(AlflowError):
    """The scheduler or the user asked the driver to end (SIGTERM)."""
