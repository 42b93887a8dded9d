"""The engine `ase`: any calculator that follows ASE's interface."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, FiniteFloat, JsonValue, PositiveFloat, model_validator

from alflow.config.base import Settings
from alflow.labeling.kinds.names import INFO, with_argument
from alflow.labeling.protocol import EngineKind, LabelEngine

_PLACE = r"^[/~$]"
ArgumentName = Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)*$")]
SPIN_AND_CHARGE = ("charge_argument", "multiplicity_argument", "unpaired_argument")


class FolderSettings(Settings):
    """Where an engine that writes files works, and what stays of a label that failed. None of it changes a number."""

    scratch_dir: str | None = Field(default=None, pattern=_PLACE)
    """Folder below which each label has one of its own: an absolute path, or one that begins with ~ or $NAME, filled in
    on the worker; not given: the worker's temporary folder (TMPDIR)."""
    kept_failures: int = Field(default=5, ge=0)
    """Labels that failed whose files are kept, the last ones of a host (or of `failures_dir`)."""
    kept_megabytes: float = Field(default=200.0, ge=0.0)
    """Most that these take, MB; of a folder that is larger, the largest files go first."""
    failures_dir: str | None = Field(default=None, pattern=_PLACE)
    """Where they are kept, a path as of `scratch_dir`; not given: alflow-failures-UID in the temporary folder."""


class ASECalculatorSettings(FolderSettings):
    """Any calculator of ASE or that follows its interface."""

    calculator: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")
    """Dotted path of the calculator class, such as ase.calculators.emt.EMT, or of a function that returns one."""
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments of the class or function."""
    charge_argument: ArgumentName | None = None
    """Name of the argument that takes a structure's total charge, such as `charge`; `input_data.system.tot_charge` is
    an entry of tables in one another, and `atoms.info.charge` one of the structure's `info`. Not given: the calculator
    has the charge that `arguments` say, and labels no other."""
    multiplicity_argument: ArgumentName | None = None
    """Name of the argument that takes a structure's multiplicity, 2S + 1; as of `charge_argument`."""
    unpaired_argument: ArgumentName | None = None
    """Name of the argument that takes the number of unpaired electrons, 2S; as of `charge_argument`."""
    magmoms: Literal["none", "spread"] | dict[str, FiniteFloat] | tuple[FiniteFloat, ...] = "none"
    """Initial magnetic moments of the atoms, which add up to the unpaired electrons: none; spread evenly; in the
    proportion of numbers given by element; or as they are listed, a number an atom (a broken symmetry adds up to 0)."""
    box_angstrom: PositiveFloat | tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    """Edges of the cell in whose middle a molecule is put, for programs that want one, Å; one number for a cube. The
    same for all structures, so that their energies can be compared."""
    box_periodic: bool = False
    """Whether the calculator is told that the cell repeats, as plane-wave programs want it."""
    unconverged_texts: tuple[Annotated[str, Field(min_length=4)], ...] = ()
    """What the program writes into a file of its folder where it did not converge, beside what is known of some."""
    reuse: bool = False
    """Keep one calculator for all structures of a worker. Refused where it remembers: the first structure must give the
    same after another one."""
    reuse_tolerance: float = Field(default=0.0, ge=0.0)
    """How far energy and forces may differ in that test, eV and eV/Å; 0 for the same bits. Calculators on a GPU whose
    sums have no fixed order need more."""
    version_command: tuple[str, ...] = ()
    """Words of a command that prints the program's version, which becomes a part of the theory: labels of another
    version are others."""

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        arguments, info = dict(self.arguments), dict[str, JsonValue]()
        for setting in SPIN_AND_CHARGE:
            if name := getattr(self, setting):
                try:
                    if name.startswith(INFO):
                        info = with_argument(info, name.removeprefix(INFO), 0)
                    else:
                        arguments = with_argument(arguments, name, 0)
                except ValueError as error:
                    raise ValueError(
                        f"{setting} names an argument that each structure gives a value; {name!r} cannot have one: "
                        f"{error}"
                    ) from None
        return self

    @model_validator(mode="after")
    def _box_is_there(self) -> Self:
        if self.box_periodic and self.box_angstrom is None:
            raise ValueError("what repeats is a cell: box_periodic needs box_angstrom")
        return self


class ASEKind(EngineKind[ASECalculatorSettings]):
    """Any ASE calculator by dotted path."""

    settings = ASECalculatorSettings
    writes_files: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {"calculator": "ase.calculators.emt.EMT"}

    def references(self, settings: ASECalculatorSettings) -> tuple[str, ...]:
        """Return what to cite."""
        return (f"and what the calculator {settings.calculator} asks to be cited",)

    def make(self, settings: ASECalculatorSettings) -> LabelEngine:
        """Return an engine for a process with other threads."""
        return self.make_in(settings, None)

    def make_in(self, settings: ASECalculatorSettings, work: Path | None) -> LabelEngine:
        """Return an engine."""
        from alflow.labeling.engines.ase import ASEEngine  # noqa: PLC0415 - heavy

        return ASEEngine(settings, work)

    def forks(self) -> tuple[str, ...]:
        """Return its module."""
        return ("alflow.labeling.engines.ase",)


KIND = ASEKind()
