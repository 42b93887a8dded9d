"""Settings of a whole campaign: the science, nothing about machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    PositiveFloat,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

from alflow.config.acquisition import AugmentationSettings, SelectionSettings, SplitSettings, StopSettings
from alflow.config.base import Settings, absolute_path
from alflow.config.bias import BiasSettings, OneOfTheBiases, bias_of
from alflow.config.colvars import BY_COLVARS, ByColvarsSettings, broken_rule, with_steps_of_bias
from alflow.config.plugins import (
    COORDINATES,
    ENGINES,
    POTENTIALS,
    NameOf,
    SettingsOf,
    find,
    name_before,
    schema_with_tables,
    settings_models,
    settings_of,
    with_settings_of_kind,
)
from alflow.config.sampling import PullSettings, RelaxSettings, ReplicaSettings
from alflow.config.start import BaseTheorySettings, FirstDataSettings, base_campaign
from alflow.config.variables import VariableSettings

SILENCE_S = 1800.0
"""An epoch, a force evaluation or a label takes less, s."""


class SystemSettings(Settings):
    """What is pulled apart."""

    carbons: tuple[int, ...] = (6,)
    """Chain lengths of the n-alkanes that are built and pulled, carbon atoms."""
    structure: str | None = None
    """A structure file that ASE reads, instead of built alkanes; relative to the working directory. The run keeps a
    copy."""
    frames: Literal["first", "all"] = "first"
    """Whether the first frame of that file is the starting structure, or each frame is one: all train one ensemble."""
    pulled_atoms: tuple[int, int] | None = None
    """Indices (from 0) of the two atoms that the spring pulls apart; the end carbons if not given. Where each frame of
    a file is a start, one may name its own, in an entry `pulled_atoms`."""
    multiplicity: int | None = Field(default=None, ge=1)
    """2S + 1; that of the structure file, or the lowest that the electrons allow, if not given."""
    charge: int | None = None
    """Total charge, elementary charges; that of the structure file, or none, if not given. The label engines are
    spin-restricted."""

    @field_validator("carbons")
    @classmethod
    def _chain_lengths(cls, carbons: tuple[int, ...]) -> tuple[int, ...]:
        if not carbons or min(carbons) < 2 or len(set(carbons)) != len(carbons):
            raise ValueError(f"chain lengths must be distinct and at least 2 carbons; got {list(carbons)}")
        return carbons

    @field_validator("structure")
    @classmethod
    def _from_anywhere(cls, structure: str | None) -> str | None:
        return None if structure is None else absolute_path(structure)

    @model_serializer(mode="wrap")
    def _one_of_two(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        if self.structure is not None:
            written.pop("carbons", None)
        return written

    @model_validator(mode="after")
    def _pulled(self) -> Self:
        if self.pulled_atoms is not None:
            if min(self.pulled_atoms) < 0 or self.pulled_atoms[0] == self.pulled_atoms[1]:
                raise ValueError(f"pulled_atoms must be two different indices from 0; got {list(self.pulled_atoms)}")
            if self.structure is None and len(self.carbons) > 1:
                raise ValueError("pulled_atoms cannot be given for several chain lengths: each has its own end carbons")
        if self.structure is None and self.frames == "all":
            raise ValueError("frames are those of a structure file: give structure, or leave frames out")
        if self.structure is not None and "carbons" in self.model_fields_set:
            raise ValueError("either carbons or structure is given, not both")
        return self


class LabelSettings(Settings):
    """The physical model that the potential learns."""

    engine: Annotated[str, NameOf(ENGINES)] = "dftb3"
    """Kind of label engine; `alflow plugins` lists them. `sleep` stands in for one in benchmarks and rehearsals."""
    settings: Annotated[SerializeAsAny[Settings], SettingsOf(ENGINES)] = Field(
        default_factory=dict, validate_default=True
    )
    """Settings of that engine."""
    frames_per_task: int = Field(default=0, ge=0)
    """Frames that one label task carries; 0: as many as last `task_seconds`, from measured label times."""
    task_seconds: float = Field(default=3.0, gt=0)
    """Length aimed at for one label task, s."""
    max_failed_share: float = Field(default=0.2, gt=0, le=1)
    """A campaign ends when more than this share of the labels asked for in one iteration cannot be had; of 20, where
    it asks for fewer."""
    max_energy_offset_ev: float = Field(default=500.0, gt=0)
    """A label further than this from the median of the first data, eV, is refused as an outlier."""
    timeout_s: float = Field(default=600.0, gt=0)
    """A single label that takes longer is given up, s."""
    budget: int | None = Field(default=None, ge=1)
    """Labels that the campaign may ask for in all, first data and all audits included, failed ones too; not given: as
    many as its iterations take. What is left is spent on the most useful first, and the last of it on an audit of what
    was learnt."""
    wait_share: float = Field(default=1.0, gt=0, le=1)
    """An iteration goes on to the next training once this share of its labels has come back, all of its audit among
    them; what comes later is learnt from in a later training."""
    canary_tolerance_ev: float = Field(default=1e-6, gt=0)
    """Before it labels, a worker labels the first starting structure; its energy may differ by so much from what the
    driver's own engine gives, eV. Calculators in single precision need more."""
    guard: bool = True
    """Compute labels in a child process of each worker, so that one that hangs, crashes or takes all memory is one
    failed label and not a lost worker. Costs a tenth of a millisecond a label. Without it `timeout_s` and `memory_gb`
    have no effect: a label that hangs ends its worker after `task_silence_s`."""
    memory_gb: float | None = Field(default=None, gt=0)
    """Largest address space of a guarded label process, GB; not given: no limit of its own."""

    @field_validator("settings", mode="before")
    @classmethod
    def _settings_of_engine(cls, given: Any, info: ValidationInfo) -> Any:
        return settings_of(ENGINES, name_before(info, "engine"), given)


class PotentialSettings(Settings):
    """The kind of potential, its ensemble, and who drives the pull.

    The settings of a kind stand in a table of its name, such as `[potential.ani]`.
    """

    kind: Annotated[str, NameOf(POTENTIALS)] = "ani"
    """Kind of neural network potential; `alflow plugins` lists them."""
    settings: SerializeAsAny[Settings]
    """Settings of that kind."""
    driver: Literal["best-member", "ensemble-mean"] = "ensemble-mean"
    """Who drives the pull: the member with the lowest force error on all data (the paper), or the mean of all."""

    @model_validator(mode="before")
    @classmethod
    def _settings_of_kind(cls, given: Any) -> Any:
        return with_settings_of_kind(POTENTIALS, given, "ani")

    @model_serializer(mode="wrap")
    def _table_of_kind(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return {self.kind: written.pop("settings"), **written}

    @classmethod
    def tables(cls) -> dict[str, type[Settings]]:
        """Return the settings of each kind by the name of its table."""
        return settings_models(POTENTIALS)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe a table for each kind."""
        return schema_with_tables(handler(schema), handler, cls.tables())


class TrainingSettings(Settings):
    """How members are trained, whatever their kind. The rest are settings of the kind."""

    start: Literal["fresh", "carried-over"] | None = None
    """Whether a later iteration starts from the weights of the one before; not given: what suits the kind's preset."""
    weights: str | None = None
    """A file of weights that the first iteration starts from, with self-energies moved to the labels: an `ensemble.pt`
    of another run, or for ANI the state dictionary of ANI-1x, ANI-1ccx or ANI-2x as TorchANI keeps it; relative to the
    working directory. The run keeps a copy."""
    members_per_task: int = Field(default=1, ge=0)
    """Members trained by one task, side by side on as many workers as there are; 0: all in one task, as one batched
    product, which is quicker where there is one GPU for all."""

    @field_validator("weights")
    @classmethod
    def _from_anywhere(cls, weights: str | None) -> str | None:
        return None if weights is None else absolute_path(weights)


class SamplingSettings(Settings):
    """Relaxation and pull."""

    relax: RelaxSettings = Field(default_factory=RelaxSettings)
    """Relaxation before the pull."""
    relax_with: Literal["label-engine", "potential", "base"] = "label-engine"
    """Who relaxes: the label engine once, so that pull and reference start from the same point (paired), or the
    potential itself before each pull (the paper), or the engine of the base once (the default where there is one)."""
    pull: PullSettings = Field(default_factory=PullSettings)
    """The pull."""
    coordinate: Annotated[str, NameOf(COORDINATES)] = "distance"
    """Kind of the coordinate that is steered; `alflow plugins` lists them."""
    coordinate_settings: Annotated[SerializeAsAny[Settings], SettingsOf(COORDINATES)] = Field(
        default_factory=dict, validate_default=True
    )
    """Settings of that kind."""
    variables: tuple[VariableSettings, ...] = ()
    """Collective variables, which `bias` acts on by Colvars, in place of two atoms that a spring pulls apart."""
    bias: Annotated[SerializeAsAny[BiasSettings] | None, OneOfTheBiases()] = None
    """What acts on the variables: `kind` is steered, umbrella, metadynamics, eabf or colvars."""
    replicas: ReplicaSettings = Field(default=1, validate_default=True)
    """Pulls of each chain length and rate in an iteration, each with velocities of its own: a number, or `{search = 8,
    certify = 80}` for few while the barrier still errs by much, and many once it may be certified."""
    rates_angstrom_per_ps: tuple[PositiveFloat, ...] = ()
    """Several pulling rates, each run for every replica; empty: the rate of `pull`."""
    batch: Literal["off"] | Annotated[int, Field(ge=1)] = "off"
    """Replicas of one molecule and rate that one task pulls together, with one evaluation of all of them a step: for a
    GPU and small molecules; "off": a task a pull, in LAMMPS."""
    reference: bool = True
    """Pull with the label engine as well, once a campaign, for the error of the barrier. Not given: not where there is
    a base, whose use is that the label engine is never called one structure after another."""

    @model_validator(mode="before")
    @classmethod
    def _biased(cls, given: Any) -> Any:
        """Let the trajectory be as long as the bias says."""
        return with_steps_of_bias(given) if isinstance(given, Mapping) else given

    @field_validator("coordinate_settings", mode="before")
    @classmethod
    def _settings_of_coordinate(cls, given: Any, info: ValidationInfo) -> Any:
        return settings_of(COORDINATES, name_before(info, "coordinate"), given)

    @field_validator("bias", mode="before")
    @classmethod
    def _bias_of_its_kind(cls, given: Any) -> Any:
        return bias_of(given)

    @model_validator(mode="after")
    def _acts_on_variables(self) -> Self:
        """Let Colvars steer where there is a bias."""
        rule = broken_rule(self.bias, self.variables)
        if not rule and self.bias is not None and self.rates_angstrom_per_ps:
            rule = "rates_angstrom_per_ps are for two atoms that a spring pulls apart; a bias has its own rate"
        if not rule and (self.bias is None) == (self.coordinate == BY_COLVARS):
            rule = (
                f"the coordinate {BY_COLVARS!r} is named by [[sampling.variables]] and [sampling.bias], and these go "
                f"with no other; the coordinate is {self.coordinate!r}"
            )
        if rule:
            raise ValueError(rule)
        if self.bias is not None:
            steered = ByColvarsSettings(variables=self.variables, bias=self.bias)
            object.__setattr__(self, "coordinate_settings", steered)
        return self

    @model_serializer(mode="wrap")
    def _as_named(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        for name in ("variables", "bias") if self.bias is None else ("coordinate", "coordinate_settings"):
            written.pop(name, None)
        return written

    @model_validator(mode="after")
    def _pulls_differ_and_end_with_a_record(self) -> Self:
        if len(set(self.rates_angstrom_per_ps)) < len(self.rates_angstrom_per_ps):
            raise ValueError(f"rates_angstrom_per_ps must be distinct; got {list(self.rates_angstrom_per_ps)}")
        if self.pull.steps % self.pull.record_stride:
            raise ValueError(
                f"pull.record_stride must divide pull.steps, so that the last step, whose work is the barrier, is "
                f"recorded; got {self.pull.record_stride} and {self.pull.steps}"
            )
        if self.batch != "off" and self.coordinate != "distance":
            raise ValueError(
                f"sampling.batch pulls together along the coordinate 'distance' alone; the coordinate is "
                f"{self.coordinate!r}. Set sampling.batch = 'off'."
            )
        return self


class CampaignSettings(Settings):
    """A campaign."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name; the run directory is called so."""
    seed: int = Field(default=1, ge=0)
    """Every number that the campaign draws comes from generators seeded by this one."""
    iterations: int = Field(default=10, ge=1)
    """Iterations to run, the first (on first data alone) included."""
    system: SystemSettings = Field(default_factory=SystemSettings)
    """What is pulled apart."""
    labels: LabelSettings = Field(default_factory=LabelSettings)
    """The label engine."""
    first_data: FirstDataSettings = Field(default_factory=FirstDataSettings)
    """First data."""
    base: BaseTheorySettings | None = None
    """A cheaper theory that explores before the label engine is asked for anything; none if not given."""
    potential: PotentialSettings = Field(default_factory=dict, validate_default=True)
    """The potential."""
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    """Training."""
    split: SplitSettings = Field(default_factory=SplitSettings)
    """Members, training and validation rows."""
    sampling: SamplingSettings = Field(default_factory=SamplingSettings)
    """Relaxation, pulls, replicas, reference."""
    selection: SelectionSettings = Field(default_factory=SelectionSettings)
    """Which frames of a pull are labelled."""
    augmentation: AugmentationSettings = Field(default_factory=AugmentationSettings)
    """Jittered copies of the selected frames."""
    stop: StopSettings = Field(default_factory=StopSettings)
    """When a pull, and when the campaign, ends early."""
    task_silence_s: float = Field(default=SILENCE_S, gt=0)
    """A worker whose task gives no sign of life (an epoch, a force evaluation, a label) for so long is ended and the
    task tried again, s; three tries in all, labels as where a worker died. A task with a guarded label engine has at
    least `labels.timeout_s` and a quarter of an hour."""

    @model_validator(mode="before")
    @classmethod
    def _training_of_ani(cls, given: Any) -> Any:
        """Take keys of `training` that are not of every kind to the kind that they are of."""
        if not isinstance(given, Mapping) or not isinstance(given.get("training"), Mapping):
            return given
        training = dict(given["training"])
        of_ani = {key: training.pop(key) for key in [*training] if key not in TrainingSettings.model_fields}
        potential = given.get("potential", {})
        if not of_ani or not isinstance(potential, Mapping) or not isinstance(potential.get("ani", {}), Mapping):
            return given
        ani = potential.get("ani", {})
        of_ani = {**of_ani, **ani.get("training", {})}
        return {**given, "training": training, "potential": {**potential, "ani": {**ani, "training": of_ani}}}

    @model_validator(mode="before")
    @classmethod
    def _starts_of_the_base(cls, given: Any) -> Any:
        """Leave relaxations to the base, and no trajectory to the label engine, where nothing else is asked for."""
        if not isinstance(given, Mapping) or given.get("base") is None:
            return given
        sampling = given.get("sampling", {})
        if not isinstance(sampling, Mapping):
            return given
        return {**given, "sampling": {"relax_with": "base", "reference": False, **sampling}}

    @model_validator(mode="after")
    def _one_set_of_weights(self) -> Self:
        if self.training.weights is None:
            return self
        if not find(POTENTIALS, self.potential.kind).transfers:
            raise ValueError(
                f"training.weights: the potential {self.potential.kind!r} cannot start from weights of another theory"
            )
        if self.base is not None and self.base.use != "structures":
            raise ValueError(
                f"training.weights and base.use {self.base.use!r} both say what the ensemble starts from: set "
                "base.use = 'structures', or leave training.weights out"
            )
        return self

    @model_validator(mode="after")
    def _base_can_be_used(self) -> Self:
        base = self.base
        if base is None:
            if self.sampling.relax_with == "base":
                raise ValueError(
                    "sampling.relax_with 'base' needs a cheaper theory to relax with: give [base] run or engine, or "
                    "take 'label-engine' or 'potential'"
                )
            return self
        if base.use == "transfer" and not find(POTENTIALS, self.potential.kind).transfers:
            raise ValueError(
                f"base.use 'transfer' starts from the weights of the base, and the potential {self.potential.kind!r} "
                "cannot: set base.use = 'structures'"
            )
        if base.use == "delta" and self.sampling.batch != "off":
            raise ValueError(
                "sampling.batch pulls with an ensemble alone, and base.use 'delta' adds an engine in every step: set "
                "sampling.batch = 'off', or base.use = 'transfer'"
            )
        if base.engine is not None:
            self.of_base()
        return self

    @property
    def starts_from_dynamics(self) -> bool:
        """Whether the first data come from molecular dynamics with the label engine."""
        return self.base is None and self.first_data.structures is None and self.first_data.labels is None

    def of_base(self) -> CampaignSettings:
        """Return the settings of the campaign in which the engine of the base explores.

        Raises:
            ValueError: `base.campaign` breaks a rule.
        """
        assert self.base is not None
        given = base_campaign(self.base, self.model_dump(mode="json", exclude_none=True))
        try:
            return CampaignSettings.model_validate(given)
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                error.title,
                [
                    InitErrorDetails(
                        type=PydanticCustomError(problem["type"], "{message}", {"message": problem["msg"]}),
                        loc=("base", "campaign", *problem["loc"]),
                        input=problem["input"],
                    )
                    for problem in error.errors()
                ],
            ) from error

    @model_validator(mode="after")
    def _start_of_training(self) -> Self:
        """Settle what a later iteration starts from."""
        if self.training.start is None:
            start = find(POTENTIALS, self.potential.kind).starts_from(self.potential.settings)
            object.__setattr__(self, "training", self.training.model_copy(update={"start": start}))
        return self

    @model_validator(mode="after")
    def _goal_can_be_judged(self) -> Self:
        if self.stop.stop_when == "error" and not self.sampling.reference:
            raise ValueError("stop.stop_when 'error' needs reference pulls: set sampling.reference = true, or 'change'")
        replicas, audited = self.sampling.replicas, self.stop.audited_pulls
        if self.stop.stop_when == "audit" and min(audited, replicas.search) < 2:
            raise ValueError(
                "stop.stop_when 'audit' judges by labels around the break of two pulls or more: set stop.audited_pulls "
                f"= 8 and sampling.replicas to 2 or more; got {audited} and {replicas.search}"
            )
        if audited and self.sampling.coordinate != "distance":
            raise ValueError(
                "stop.audited_pulls: the force between the fragments is known for the coordinate 'distance' alone; got "
                f"{self.sampling.coordinate!r}"
            )
        if self.stop.stop_when != "never" and replicas.differ and replicas.search < 2:
            raise ValueError(
                f"stop.stop_when {self.stop.stop_when!r} judges by an interval whether its goal is near, and one pull "
                "has none: set sampling.replicas.search to 2 or more"
            )
        return self

    @model_validator(mode="after")
    def _one_event(self) -> Self:
        bias, stop = self.sampling.bias, self.stop.stop_when
        if bias is not None and self.system.pulled_atoms is not None:
            raise ValueError(
                "system.pulled_atoms names two atoms for a spring, sampling.variables what a bias acts on: give one of "
                f"them; got pulled_atoms = {list(self.system.pulled_atoms)} and a bias of kind {bias.kind!r}"
            )
        if bias is not None and not bias.does_work and stop != "never":
            raise ValueError(
                f"stop.stop_when {stop!r} judges by the work of what steers, and a bias of kind {bias.kind!r} does "
                "none: set stop.stop_when = 'never'"
            )
        return self

    @model_validator(mode="after")
    def _can_pull_together(self) -> Self:
        if self.sampling.batch == "off":
            return self
        if not find(POTENTIALS, self.potential.kind).batched:
            raise ValueError(
                "sampling.batch needs a potential that evaluates many structures at once: "
                f"{self.potential.kind!r} does not. Set sampling.batch = 'off', or take the potential 'ani'."
            )
        if self.stop.pull_spread_factor is not None:
            raise ValueError(
                "stop.pull_spread_factor ends single pulls, and those of a batch advance together: leave it out, or "
                "set sampling.batch = 'off'"
            )
        return self

    @model_validator(mode="after")
    def _calibrated_on_rows_that_no_member_trained_on(self) -> Self:
        carried = self.training.start == "carried-over"
        if self.selection.threshold == "conformal" and self.split.kind == "random" and carried:
            raise ValueError(
                "selection.threshold 'conformal' is calibrated on rows that no member trained on, and with split.kind "
                "'random' weights that are carried over have seen them: set split.kind = 'inherited' or "
                "training.start = 'fresh'"
            )
        return self

    @model_validator(mode="after")
    def _chosen_together(self) -> Self:
        chosen = self.selection
        if (chosen.threshold == "calibrated") != (chosen.cap_order in ("diverse", "random")):
            raise ValueError(
                "selection.threshold 'calibrated' and selection.cap_order 'diverse' (or 'random') go together: frames "
                f"are chosen once all pulls have ended; got {chosen.threshold!r} and {chosen.cap_order!r}"
            )
        if chosen.threshold == "calibrated" and not chosen.audit:
            raise ValueError("selection.threshold 'calibrated' is calibrated by audits: set selection.audit above 0")
        return self

    @model_validator(mode="after")
    def _members_disagree(self) -> Self:
        if self.split.members < 2 and self.selection.cap:
            raise ValueError(
                "split.members must be at least 2: frames are selected by the spread of the members, and one has none "
                "(selection.cap = 0 selects none)"
            )
        return self
