"""A run is its description: frozen, validated specs and their canonical key.

A ``RunSpec`` holds everything that can change a number and nothing else; what cannot (device, workers,
logging) lives in ``train.Resources``, is recorded, and is never hashed. Imports only ``errors`` and ``markup``.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from transfusion_lib import markup
from transfusion_lib.errors import SpecError, brief, did_you_mean

# Raise by hand when the meaning of a spec changes: the same spec would now give other numbers.
# tests/test_spec.py holds a golden key that fails when the canonical form changes by accident.
# 2: depthwise convolutions compute in float32 inside bfloat16; splits can be drawn; the test set is scored once.
SEMANTICS = 2

LARGEST = 2**20
"""Bytes that a file with a spec may have."""
EVALUATIONS = 100_000
"""That a run may have: its curve is kept in memory."""
Positive = Annotated[int, Field(gt=0, le=10**9)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
FromList = Field(strict=False)  # JSON has lists only; the items stay strict


def _about(name: str, field: FieldInfo) -> str:
    """Return a line on a field: its name, its default and what it means; its type is in the signature."""
    default = "" if field.is_required() or field.default_factory else f" = {field.default!r}"
    return f"    {name}{default}{f': {field.description}' if field.description else ''}"


class Spec(BaseModel):
    """Base of all specs: frozen, strict about types, closed to unknown fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def __new__(cls, *values: Any, **_: Any) -> Self:
        """Refuse values without a name, of which nobody could say which field they are."""
        if values:
            names = list(cls.model_fields)
            said = ", ".join(f"{name}=..." for name in names[: len(values)])
            raise SpecError(
                f"{cls.__name__} takes its fields by name: {cls.__name__}({said}); known: {', '.join(names)}"
            )
        return super().__new__(cls)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Say in the docstring what every field is, where ``TrainSpec?`` shows it."""
        cls.__doc__ = "\n".join(
            [str(cls.__doc__).rstrip(), "", *(_about(name, field) for name, field in cls.model_fields.items())]
        )

    @model_validator(mode="wrap")
    @classmethod
    def _explained(cls, value: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(value)
        except ValidationError as error:
            if not isinstance(value, dict):  # another member of a union may fit, or knows better what is wrong
                raise
            raise SpecError(f"{cls.__name__}: {_explain(cls, error)}") from None

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str = "the given JSON") -> Self:
        """Return the spec that ``text`` describes; a ``SpecError`` names ``source`` and each faulty field."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise SpecError(f"{source}: {_explain(cls, error)}") from None
        except SpecError as error:
            raise SpecError(f"{source}: {error}") from None

    def to_json(self, *, indent: int | None = None) -> str:
        """Return JSON that ``from_json`` reads back to an equal spec."""
        return self.model_dump_json(indent=indent)

    def _repr_html_(self) -> str:
        """Show in a notebook every field and its value, nested ones with their path, a line each."""
        return f"<b>{type(self).__name__}</b>{markup.table(self.flat())}"

    def flat(self) -> dict[str, object]:
        """Return every field that is set by its path, ``train.steps`` for example."""
        return dict(_lines(self))

    def replace(self, **fields: Any) -> Self:
        """Return a validated copy with ``fields`` changed."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | fields)


class DataSpec(Spec):
    """Which images, at which size, with which labels, split how."""

    name: str
    """A name in the table of data sets (``transfusion data list``)."""
    size: Annotated[int, Field(ge=16, le=1024)] = 64
    """Edge in pixels (voxels in 3D) after resizing."""
    task: str | None = None
    """One of the data set's tasks; None is its first."""
    train: Positive | None = None
    """Training images, a stratified subset drawn by unit from ``seed``; None is all of them."""
    val: Positive | None = None
    """Validation images; None is the data set's rule, and a drawn split grows to this number."""
    test: Positive | None = None
    """Test images; None is the data set's rule, and a drawn split grows to this number."""
    split: Literal["official", "drawn"] = "official"
    """The set's own splits as far as it has them, or test and val drawn by unit from ``seed`` over all images.

    Where a set has no splits of its own, and in synthetic sets, both words mean the same.
    """
    seed: Seed = 0
    """Seed of every drawn split and subset and, in synthetic sets, of the images."""
    uncertain: Literal["published", "ones", "zeros", "ignore"] = "published"
    """What an uncertain label (-1 of CheXpert) becomes; "published" is the CheXpert paper's choice per pathology."""
    on_bad: Literal["error", "skip"] = "error"
    """A file that cannot be read stops the load, or is left out and listed in the datasheet."""
    unit: str | None = None
    """Of your own files, what no two splits may share: a column of the table, or a regular expression that finds it in
    the names of the files, its first group if it has one; None is what the library finds."""
    root: str | None = None
    """Where the files are, when not under ``TRANSFUSION_DATA``: absolute, whatever was given; never part of the key."""

    @field_validator("root")
    @classmethod
    def _absolute(cls, root: str | None) -> str | None:
        if root is not None and not root.strip():
            raise ValueError("is empty; give the place of the files")
        return None if root is None else str(Path(root).expanduser().absolute())


class Slim(Spec):
    """Divide the channels of everything above a stage (Transfusion, section 5; TF in TruncatedTL)."""

    above: str
    """Stage or cut point: the last to keep its width."""
    factor: Annotated[int, Field(ge=2)] = 2


class Truncate(Spec):
    """Remove everything above a cut point and put a new head on the rest (TruncatedTL, section 3.2)."""

    at: str
    """Stage or cut point: the last to stay."""
    pooled: bool = True
    """Average over positions before the head; otherwise the head sees every position."""


class ModelSpec(Spec):
    """Which network and which surgery."""

    name: str
    in_channels: Literal[1, 3] = 3
    """Grey images feed all three channels of a 3-channel network, as in the papers."""
    slim: Slim | None = None
    truncate: Truncate | None = None


class Gabor(Spec):
    """A bank of Gabor filters for the first convolution (Transfusion, appendix F.3; its parameters are not stated)."""

    orientations: Positive = 8
    """Evenly spaced over 180 degrees."""
    wavelengths: Annotated[tuple[Annotated[float, Field(gt=1)], ...], FromList] = (2.5, 4.0, 6.5)
    """In pixels of the kernel's grid."""
    phases: Positive = 2
    """Evenly spaced over 180 degrees: even and odd filters for 2."""
    bandwidth: Annotated[float, Field(gt=0)] = 1.0
    """Half-response spatial-frequency bandwidth in octaves."""
    aspect: Annotated[float, Field(gt=0)] = 0.5
    """Spatial aspect ratio of the envelope."""


class InitSpec(Spec):
    """Where the first weights come from, as a function over the table of stages.

    ``method`` fills the stages up to and including ``up_to`` (all, if None), ``above`` fills the rest:
    transfusion is ``method="pretrained", up_to="block2"``; WT-ST-n adds ``above="mean_var"``.
    The head is always new, hence random, unless the source has a head of the same size and ``keep_head``.
    """

    method: Literal["random", "pretrained", "mean_var", "covariance", "bootstrap", "permutation"] = "random"
    up_to: str | None = None
    above: Literal["random", "mean_var", "covariance", "bootstrap", "permutation"] = "random"
    weights: "Literal['imagenet', 'tiny_imagenet_100'] | RunSpec | None" = None
    """Published ImageNet weights, our shipped ones, or any run of our own; None only where none are needed."""
    batch_norm: Literal["reset", "keep", "sample"] = "reset"
    """Where weights are sampled: batch norm to 1/0, kept from the source, or its scale and shift sampled too."""
    gabor: Gabor | None = None
    """Replaces the first convolution after everything else."""
    keep_head: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        needs = self.method != "random" or (self.up_to is not None and self.above != "random")
        if needs and self.weights is None:
            raise SpecError(
                f'InitSpec: method "{self.method}" needs weights: "imagenet", "tiny_imagenet_100" or a run spec'
            )
        if not needs and self.weights is not None:
            raise SpecError('InitSpec: method "random" takes no weights')
        if self.up_to is None and self.above != "random":
            raise SpecError("InitSpec: above has no effect without up_to: name the last stage that method fills")
        if self.keep_head and self.method == "random":
            raise SpecError('InitSpec: method "random" has no head to keep')
        return self


class Augment(Spec):
    """Random changes of a training image, as batched tensor code."""

    flip: bool = False
    """Mirror left and right with probability 1/2."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Uniform in plus or minus this many degrees."""
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Smallest edge of a random square crop, as a fraction of the image."""
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Uniform factor in 1 plus or minus this."""


class TrainSpec(Spec):
    """How to train, and the fixed grid of steps at which to evaluate."""

    steps: Positive
    eval_every: Positive
    """Evaluate at step 0, every multiple of this, and the last step."""
    batch_size: Positive = 32
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of SGD; Adam's betas are PyTorch's."""
    schedule: Literal["constant", "cosine", "one_cycle", "plateau"] = "constant"
    """Plateau: halve after 10 evaluations without a better validation AUPRC, stop below 1e-6 (TruncatedTL)."""
    select: Literal["last", "best"] = "last"
    """Final weights: the last step's, or those of the best validation AUPRC."""
    freeze: str | None = None
    """Stage or cut point up to which nothing moves, batch-norm statistics included."""
    body_lr_scale: Annotated[float, Field(gt=0)] = 1.0
    """Learning rate of everything but the head, relative to the head's (LWFT: 0.1)."""
    augment: Augment = Augment()
    class_weights: Literal["none", "balanced"] = "none"
    """Balanced: each class or label weighs in the loss by the inverse of its frequency in training; probabilities then
    follow no frequency."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is autocast: weights, statistics and optimizer stay float32."""
    snapshots: Annotated[tuple[Annotated[int, Field(ge=0)], ...], FromList] = ()
    """Steps whose weights are kept beside the final ones."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.steps // self.eval_every > EVALUATIONS:
            raise SpecError(
                f"TrainSpec: {self.steps:,} steps with eval_every {self.eval_every:,} are more than {EVALUATIONS:,} "
                "evaluations; raise eval_every"
            )
        late = [step for step in self.snapshots if step > self.steps]
        if late:
            raise SpecError(f"TrainSpec: snapshots {late} lie beyond the last step {self.steps}")
        if list(self.snapshots) != sorted(set(self.snapshots)):
            raise SpecError("TrainSpec: snapshots must increase")
        return self

    @property
    def grid(self) -> tuple[int, ...]:
        """The steps at which the run is evaluated, 0 and the last included."""
        return tuple(sorted({*range(0, self.steps + 1, self.eval_every), self.steps}))


class RunSpec(Spec):
    """Everything that can change a run's numbers."""

    data: DataSpec
    model: ModelSpec
    init: InitSpec = Field(default_factory=lambda: InitSpec())  # the class is complete only after RunSpec
    train: TrainSpec
    seed: Seed = 0
    """Of the random weights, the order of batches, the augmentation and dropout."""

    def key(self, *, data: str, weights: str | None) -> str:
        """Return the sha256 (64 hex digits) of the canonical JSON of this spec and of what it reads.

        Fields at their defaults are left out, so that a new field leaves the keys of finished runs as they are; a
        default that changes raises ``SEMANTICS``.
        ``data`` is the fingerprint of the data, ``weights`` the digest of the pretrained weights (None if
        none are read). ``runs.key`` looks both up.
        """
        spec = _without_places(self.model_dump(mode="json", exclude_defaults=True))
        description = {"semantics": SEMANTICS, "spec": spec, "data": data, "weights": weights}
        return hashlib.sha256(canonical_json(description).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """Return the one JSON text of ``value``: sorted keys, no spaces, shortest floats, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def read_spec(given: str | Path) -> RunSpec:
    """Return the run spec in a JSON file, or in a text of JSON; a ``SpecError`` names the file and the fault."""
    if isinstance(given, str) and given.lstrip().startswith("{"):
        return RunSpec.from_json(given)
    path = Path(given).expanduser()
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
    except OSError as error:
        raise SpecError(f"{path}: cannot read the spec ({error.strerror}); give the path of a JSON file") from None
    if len(text) > LARGEST:
        raise SpecError(f"{path}: more than {LARGEST:,} bytes are no spec; give the path of a JSON file")
    return RunSpec.from_json(text, source=str(path))


def _lines(spec: Spec, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the path and value of every field of a spec that is set, those of nested specs in its place."""
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        if isinstance(value, Spec):
            yield from _lines(value, f"{prefix}{name}.")
        elif value is not None:
            yield prefix + name, value


def _without_places(dump: Any) -> Any:
    """Return a spec's dump without the places of files, which cannot change a number."""
    if isinstance(dump, dict):
        return {name: _without_places(value) for name, value in dump.items() if name != "root"}
    return dump


def _explain(model: type[BaseModel], error: ValidationError) -> str:
    """Return each fault of ``error`` as ``field: fault``, with the known names for an unknown field."""
    faults = []
    for fault in error.errors(include_url=False):
        where = ".".join(str(part) for part in fault["loc"]) or model.__name__
        what = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            known = _fields_at(model, fault["loc"][:-1])
            what = f"no such field{did_you_mean(str(fault['loc'][-1]), known)}; known: {', '.join(known)}"
        elif fault["type"] != "value_error" and fault["type"] != "missing":
            what = f"{what}, got {brief(fault['input'])}"
        faults.append(f"{where}: {what}")
    return "; ".join(faults)


def _fields_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the (nested) model that a validation error's location points into."""
    for part in location:
        field = model.model_fields.get(str(part))
        nested = field.annotation if field else None
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            model = nested
    return list(model.model_fields)


InitSpec.model_rebuild()
RunSpec.model_rebuild()
