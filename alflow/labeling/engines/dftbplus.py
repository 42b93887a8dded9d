"""The same theory as `dftb3` by an external DFTB+ binary, kept alive over the i-PI socket protocol.

One DFTB+ process serves all structures of a composition. The i-PI protocol hands over the Mermin free
energy, from which the forces derive. Written for the input format of DFTB+ 22.2 and later (parser version 12).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
import warnings
import weakref
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.socketio import SocketIOCalculator
from ase.io import write

from alflow.dftb.flaws import Flaw, find_flaws, refuse_flawed
from alflow.dftb.parameter_sets import ParameterSet, parameter_set
from alflow.dftb.parameters import digest, locate, read_pair
from alflow.errors import ConfigError, LabelError
from alflow.files.scratch import is_plain, plain_scratch
from alflow.labeling.engines.dftb3 import check_electrons, require_known
from alflow.labeling.frames import require_plausible, theory_hash
from alflow.labeling.kinds.dftb import DFTBPlusSettings
from alflow.types import Composition, Evaluation, FloatArray, IntArray

_OUTPUT = "dftb+.out"
_PARAMETERS = "parameters"
"""Link to the folder of parameters: a path in the input must have no quotes, and not be long."""
_LARGEST_OUTPUT_BYTES = 1_000_000


def dftbplus_input(
    settings: DFTBPlusSettings, known: ParameterSet, folder: Path, composition: Composition, socket: str
) -> str:
    """Return the content of ``dftb_in.hsd`` (geometry in ``geometry.gen`` beside it).

    Args:
        settings: Settings of the engine.
        known: The parameter set.
        folder: Folder with its files.
        composition: of A atoms.
        socket: Name of the UNIX socket.
    """
    kinds = sorted({int(number) for number in composition.numbers})
    lines = [
        'Geometry = GenFormat {\n  <<< "geometry.gen"\n}',
        f'Driver = Socket {{\n  File = "{socket}"\n  Protocol = i-PI {{}}\n  MaxSteps = -1\n  Verbosity = 0\n}}',
        "Hamiltonian = DFTB {",
        "  SCC = Yes",
        f"  SCCTolerance = {settings.scc_tolerance!r}",
        f"  MaxSCCIterations = {settings.max_cycles}",
        "  ConvergentSCCOnly = Yes",
        f"  Charge = {composition.charge}",
        f"  Filling = Fermi {{ Temperature [Kelvin] = {settings.electronic_temperature_k!r} }}",
        f'  SlaterKosterFiles = Type2FileNames {{\n    Prefix = "{folder}/"',
        '    Separator = "-"\n    Suffix = ".skf"\n  }',
        "  MaxAngularMomentum {",
        *(f'    {known.symbols[kind]} = "{"spd"[known.elements[kind].max_angular_momentum]}"' for kind in kinds),
        "  }",
    ]
    if settings.third_order:
        lines += ["  ThirdOrderFull = Yes", "  HubbardDerivs {"]
        lines += [f"    {known.symbols[kind]} = {known.elements[kind].hubbard_derivative!r}" for kind in kinds]
        lines += ["  }"]
    if settings.hydrogen_damping_zeta is not None:
        lines += [f"  HCorrection = Damping {{ Exponent = {settings.hydrogen_damping_zeta!r} }}"]
    if settings.dispersion == "d3bj":
        d3 = known.dispersion
        lines += [f"  Dispersion = SimpleDftD3 {{ s6 = {d3.s6}; s8 = {d3.s8}; a1 = {d3.a1}; a2 = {d3.a2} }}"]
    lines += ["}", "Analysis { CalculateForces = Yes }", "Options { WriteDetailedOut = No }"]
    return "\n".join([*lines, "ParserOptions { ParserVersion = 12 }", ""])


@dataclass(frozen=True)
class _Pairs:
    """What the files of some elements say."""

    flaws: dict[tuple[int, int], tuple[Flaw, ...]]
    valence: dict[int, float]
    """Electrons of the neutral atoms."""


@dataclass
class _Server:
    """One running DFTB+ and the socket to it."""

    key: Composition
    command: list[str]
    folder: str
    process: subprocess.Popen[bytes] | None = None
    calculator: SocketIOCalculator = field(init=False)

    def __post_init__(self) -> None:
        self.calculator = SocketIOCalculator(unixsocket=socket_name(self.folder), launch_client=self.launch)

    def launch(self, *_: object, **__: object) -> subprocess.Popen[bytes]:
        """Start the process; ASE calls this once the socket is there."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - the command is the user's setting
                self.command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        return self.process

    @property
    def output(self) -> Path:
        """What DFTB+ prints."""
        return Path(self.folder) / _OUTPUT

    def shorten_output(self) -> None:
        """Empty the file of what DFTB+ prints once it is large: it prints for every structure."""
        with contextlib.suppress(OSError):
            if self.output.stat().st_size > _LARGEST_OUTPUT_BYTES:
                os.truncate(self.output, 0)

    def kill(self) -> None:
        """End the process; whoever waits on the socket gets an error."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()

    def close(self) -> None:
        """End the process and remove its folder."""
        self.kill()
        with warnings.catch_warnings(), contextlib.suppress(OSError):
            warnings.simplefilter("ignore")  # ASE warns of the exit status of the process that was just killed
            self.calculator.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def socket_name(folder: str) -> str:
    """Return the name of the socket of the process that runs in a folder; ASE and DFTB+ both make a path of it."""
    return Path(folder).name


class DFTBPlusEngine:
    """DFTB3 by DFTB+. One process is kept; another composition replaces it.

    DFTB+ starts each self-consistency from its last charges, so results repeat within `scc_tolerance`, not to the bit.
    """

    def __init__(self, settings: DFTBPlusSettings, work: Path | None = None) -> None:
        """Find the binary; `work` is where its folder is made, None for the temporary folder."""
        self._settings = settings
        self._work = work
        self._set = parameter_set(settings.parameters)
        self._own_folder = Path(settings.parameters_dir).resolve() if settings.parameters_dir else None
        self._command = _find_binary(settings.command)
        self._folder = self._own_folder or locate(settings.parameters)
        self._theory = theory_hash(
            {
                "engine": "dftbplus",
                "version": _version(self._command),
                "files": digest(settings.parameters, self._own_folder),
                **settings.model_dump(mode="json", exclude={"parameters_dir", "max_cycles", "command", "timeout_s"}),
            }
        )
        self._pairs: dict[tuple[int, ...], _Pairs] = {}
        self._server: _Server | None = None

    @property
    def theory(self) -> str:
        """Fingerprint of DFTB+'s version, of the parameter files and of all settings that change a number."""
        return self._theory

    def compute(
        self,
        composition: Composition,
        positions: FloatArray,
        start: FloatArray | None = None,  # noqa: ARG002 - DFTB+ keeps its charges itself
    ) -> Evaluation:
        """Return energy and forces of one structure.

        Args:
            composition: of A atoms.
            positions: (A, 3) Å.
            start: Not used.

        Raises:
            LabelError: What DFTB+ cannot do; "timeout" where it was silent for too long.
        """
        numbers = composition.numbers
        require_known(self._set, numbers)
        require_plausible(positions)
        pairs = self._pairs_of(numbers)
        room = 2 * sum((self._set.elements[int(number)].max_angular_momentum + 1) ** 2 for number in numbers)
        check_electrons(composition, sum(pairs.valence[int(number)] for number in numbers), room)
        refuse_flawed(pairs.flaws, numbers, positions, str(self._own_folder or self._set.name))
        atoms = Atoms(numbers=numbers, positions=positions)
        server = self._serve(atoms, composition)
        silent = threading.Event()

        def give_up() -> None:
            silent.set()
            server.kill()

        watchdog = threading.Timer(self._settings.timeout_s, give_up)
        watchdog.start()
        try:
            server.calculator.calculate(atoms, ["energy", "forces"], [])
        except Exception as cause:
            output = _tail(server.output)
            self.close()
            raise _failure(output, self._settings.timeout_s, timed_out=silent.is_set()) from cause
        finally:
            watchdog.cancel()
        server.shorten_output()
        results = server.calculator.results
        return Evaluation(float(results["energy"]), np.array(results["forces"], dtype=np.float64))

    def close(self) -> None:
        """End the DFTB+ process, if there is one."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def _pairs_of(self, numbers: IntArray) -> _Pairs:
        kinds = tuple(sorted({int(number) for number in numbers}))
        if kinds not in self._pairs:
            check = self._own_folder is None
            files = {(a, b): read_pair(self._set, self._folder, (a, b), check=check) for a in kinds for b in kinds}
            atoms = {kind: files[kind, kind].atom for kind in kinds}
            valence = {kind: float(atom.occupations.sum()) for kind, atom in atoms.items() if atom is not None}
            self._pairs[kinds] = _Pairs(find_flaws(files, self._set.symbols), valence)
        return self._pairs[kinds]

    def _serve(self, atoms: Atoms, composition: Composition) -> _Server:
        if self._server is None or self._server.key != composition:
            self.close()
            self._server = self._launch(atoms, composition)
        return self._server

    def _launch(self, atoms: Atoms, composition: Composition) -> _Server:
        own = self._work is not None and is_plain(self._work)
        folder = tempfile.mkdtemp(prefix="alflow-dftbplus-", dir=self._work if own else plain_scratch())
        (Path(folder) / _PARAMETERS).symlink_to(self._folder)
        text = dftbplus_input(self._settings, self._set, Path(_PARAMETERS), composition, socket_name(folder))
        (Path(folder) / "dftb_in.hsd").write_text(text)
        write(Path(folder) / "geometry.gen", atoms, format="gen")
        server = _Server(composition, self._command, folder)
        weakref.finalize(self, server.close)
        return server


def _find_binary(command: str) -> list[str]:
    words = shlex.split(command)
    binary = shutil.which(words[0]) if words else None
    if binary is None:
        raise ConfigError(
            f"The engine dftbplus needs the DFTB+ binary; {command!r} is not on the PATH. Install DFTB+, set command "
            "to its path, or use the engine dftb3, which has the same settings and needs no binary."
        )
    return [binary, *words[1:]]


def _version(command: list[str]) -> str:
    """Ask the binary for its version; one that is too old to know the question counts as "unknown"."""
    try:
        done = subprocess.run(  # noqa: S603 - the command is the user's setting
            [*command, "--version"], capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    lines = [line.strip(" |*") for line in done.stdout.splitlines() if "version" in line.lower() or "release" in line]
    return lines[0] if lines and not done.returncode else "unknown"


def _tail(path: Path, lines: int = 8) -> str:
    with contextlib.suppress(OSError):
        return " / ".join(
            line.strip() for line in path.read_text(errors="replace").splitlines()[-lines:] if line.strip()
        )
    return ""


def _failure(output: str, timeout_s: float, *, timed_out: bool) -> LabelError:
    if timed_out:
        return LabelError(
            "timeout", f"DFTB+ must answer within {timeout_s:g} s; it was ended. Its last words: {output}"
        )
    if "SCC is NOT converged" in output:
        return LabelError("not-converged", f"DFTB+: {output}")
    return LabelError("engine-crash", f"DFTB+ ended before it answered. Its last words: {output or 'none'}")
