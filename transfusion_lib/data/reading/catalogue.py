"""What a source knows about its images before a pixel is read: names, labels, units, official splits."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from transfusion_lib.data.reading.decode import Fit
from transfusion_lib.errors import DataError, SpecError, unknown
from transfusion_lib.spec import DataSpec

SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One image with its label, unit and split."""

    id: str
    """Unique within the data set."""
    file: str
    """Its name in the ``Files``."""
    label: int | tuple[float, ...]
    """A class, or one of 0, 1 and NaN (ignore) per label."""
    unit: str
    """What must not be shared between splits."""
    split: SplitName | None = None
    """The official split, if the data set has one."""
    family: str | None = None
    """Coarser than the unit: kept together wherever this library draws the split. None is the unit."""
    row: str | None = None
    """The table and row that name the image, for messages."""
    mask: str | None = None
    """The file of its mask."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """A data set before decoding."""

    task: str
    kind: Literal["multiclass", "multilabel", "segmentation"]
    """In segmentation an item's label only stratifies the splits; the network learns the masks."""
    classes: tuple[str, ...]
    items: tuple[Item, ...]
    channels: Literal[1, 3]
    positive: tuple[int, ...] | None = None
    regions: tuple[str, ...] = ()
    fit: Fit = "stretch"
    white: float | None = None
    """Level that is white in every deep grey image (see ``decode.white_level``); None where all have 8 bits."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Lines of the datasheet beyond those of the source."""
    remarks: tuple[str, ...] = ()
    """What was left aside, merged or read in another way than it is written: a line each, counted."""
    top_up_val: bool = False
    """The official validation split is too small: carve more of it out of train."""


EXAMPLES = 3  # of one kind, named in a line


class Problems:
    """Where faults of the data go: up as an error, or on a list of what was left out; and what else was done."""

    def __init__(self, *, raising: bool, found: Iterable[str] = ()) -> None:
        """Raise each fault at once, or collect it after those already ``found``."""
        self.raising = raising
        self.found = list(found)
        self._remarks: dict[str, list[str]] = {}

    def add(self, message: str) -> None:
        """Raise ``message`` as a ``DataError``, or note that what it names is left out."""
        if self.raising:
            raise DataError(message)
        self.found.append(message)

    def remark(self, what: str, *examples: str) -> None:
        """Note a choice made with the data that is no fault; examples of one ``what`` are counted in one line."""
        self._remarks.setdefault(what, []).extend(examples)

    def settle(self, other: "Problems") -> None:
        """Take over what ``other`` collected: raise its first fault, with the number of those like it, or note all."""
        for what, examples in other._remarks.items():
            self.remark(what, *examples)
        lines = grouped(other.found)
        if lines and self.raising:
            more = f" ({len(lines) - 1} other kinds of fault: transfusion data check)" if len(lines) > 1 else ""
            raise DataError(lines[0] + more)
        self.found += other.found

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return a line for each kind of remark: how many, what, up to three examples."""
        return tuple(counted(what, examples) if examples else what for what, examples in self._remarks.items())


def counted(what: str, examples: Sequence[str]) -> str:
    """Return ``what`` with the number of its examples in front and up to three of them behind."""
    more = " ..." if len(examples) > EXAMPLES else ""
    return f"{len(examples):,} {what}: {', '.join(examples[:EXAMPLES])}{more}"


def grouped(messages: Sequence[str]) -> list[str]:
    """Return messages of faults with those that differ only in names and numbers as one: the first, and how many."""
    groups: dict[str, list[str]] = {}
    for message in messages:
        groups.setdefault(DETAIL.sub("*", message.partition(": ")[2]) or message, []).append(message)
    lines = []
    for group in groups.values():
        if len(group) <= EXAMPLES:
            lines += group
        else:
            others = ", ".join(message.partition(": ")[0].rpartition("/")[2] for message in group[1:EXAMPLES])
            lines.append(f"{len(group):,} faults of one kind: {group[0]}. Also {others} and others")
    return lines


DETAIL = re.compile(r"""image \S+|"[^"]*"|'[^']*'|\S*[\d/.]\S*""")
"""What differs between faults of one kind: names and numbers."""


@dataclass(frozen=True, kw_only=True)
class Info:
    """The lines of a datasheet that hold for every user of a data set."""

    what: str
    tasks: tuple[str, ...]
    """The first is the default."""
    licence: str
    source: str
    """Citation and address."""
    unit: str
    """What a unit is: patient, lesion, image."""
    splits: str
    """Which splits are official and which are drawn here."""
    layout: str
    """How the files must lie, and where they come from."""
    called: str = ""
    """The set as a sentence has it: skin lesions."""
    asks: Mapping[str, str] = field(default_factory=dict)
    """What a task asks, in English, where its name does not say it."""
    shifted: tuple[str, ...] = ()
    """Tasks whose test images are of another distribution than the training images: scores measure robustness to that
    shift, not performance."""

    def notes(self) -> dict[str, str]:
        """Return the lines by name."""
        lines = {name: text for name, text in asdict(self).items() if isinstance(text, str)}
        return {name: text for name, text in lines.items() if name != "called"}

    def asked(self, task: str, *, split: str = "official") -> str:
        """Return what a task asks, in English, and "(shift)" behind it where its scores measure that."""
        return self.asks.get(task, task.replace("_", " ")) + (" (shift)" if self.shifts(task, split=split) else "")

    def shifts(self, task: str | None, *, split: str = "official") -> bool:
        """Tell whether a task's official test images (None: the default task's) are of another distribution."""
        return split == "official" and (self.tasks[0] if task is None else task) in self.shifted


def choose_task(spec: DataSpec, tasks: tuple[str, ...]) -> str:
    """Return the task that ``spec`` names, the first where it names none."""
    if spec.task is None:
        return tasks[0]
    if spec.task not in tasks:
        raise SpecError(unknown(f"task of {spec.name}", spec.task, tasks))
    return spec.task


@dataclass(frozen=True, kw_only=True)
class Positive:
    """The positive class of two, and why it is."""

    classes: tuple[int, ...]
    told: str


ILL = frozenset({
    "abnormal", "malignant", "cancer", "cancerous", "carcinoma", "tumor", "tumour", "melanoma", "mel", "metastasis",
    "pneumonia", "covid", "tuberculosis", "tb", "disease", "diseased", "sick", "ill", "unhealthy", "pathological",
    "positive", "pos", "yes", "true", "1", "infected", "parasitized", "glaucoma", "referable", "fracture",
    "fractured", "hemorrhage", "haemorrhage", "bleeding", "lesion", "polyp", "polyps", "effusion", "opacity",
})  # fmt: skip
WELL = frozenset({
    "normal", "healthy", "benign", "negative", "neg", "no", "non", "not", "none", "false", "0", "-1", "without",
    "control", "controls", "well", "clear", "uninfected", "background", "naevus", "nevus", "nv",
})  # fmt: skip


def choose_positive(classes: tuple[str, ...], counts: Sequence[int], *, asked: str | None) -> Positive | None:
    """Return the positive one of two classes: the one ``asked`` for, or known by its name, or the rarer.

    ``counts`` is the number of images of each. None for other than two classes; a ``SpecError`` for an unknown one.
    """
    if asked is not None and asked not in classes:
        raise SpecError(unknown("class", asked, classes))
    if len(classes) != 2:
        return None
    if asked is not None:
        return Positive(classes=(classes.index(asked),), told=f"{asked}, as asked for")
    words = [set(re.findall(r"[^\W\d_]+|-?\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())) for name in classes]
    well, ill = ([bool(each & known) for each in words] for known in (WELL, ILL))
    if well[0] != well[1]:
        index, why = well.index(False), "by its name"
    elif ill[0] != ill[1] and not any(well):
        index, why = ill.index(True), "by its name"
    else:
        index = 0 if counts[0] < counts[1] else 1
        why = "the rarer" if counts[0] != counts[1] else "the second by name; as frequent as the first"
    return Positive(classes=(index,), told=f"{classes[index]}, {why}")


def with_positive(spec: DataSpec, tasks: tuple[str, ...]) -> tuple[str, str | None]:
    """Return the task of ``spec``, and the positive class that may stand behind it: classes=malignant."""
    task, equals, asked = (spec.task or "").partition("=")
    named = choose_task(spec.replace(task=task or None), tasks)
    return (f"{named}={asked}", asked) if equals else (named, None)
