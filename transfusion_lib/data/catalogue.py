"""What a source knows about its images before a pixel is read: names, labels, units, official splits."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from transfusion_lib.data.decode import Fit
from transfusion_lib.errors import DataError, SpecError, unknown
from transfusion_lib.spec import DataSpec

SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One image and what is known of it."""

    id: str
    """Unique within the data set."""
    file: str
    """Its name in the ``Files``."""
    label: int | tuple[float, ...]
    """A class, or one of 0, 1 and NaN (ignore) per label."""
    unit: str
    """What must not be shared between splits."""
    split: SplitName | None = None
    """The official split, where there is one."""
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
    """In segmentation an item's label only stratifies the splits; the masks are what is learnt."""
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
    top_up_val: bool = False
    """The official validation split is too small: carve more of it out of train."""


class Problems:
    """Where faults of the data go: up as an error, or on a list of what was left out."""

    def __init__(self, *, raising: bool, found: Iterable[str] = ()) -> None:
        """Raise each fault at once, or collect it after those already ``found``."""
        self.raising = raising
        self.found = list(found)

    def add(self, message: str) -> None:
        """Raise ``message`` as a ``DataError``, or note that what it names is left out."""
        if self.raising:
            raise DataError(message)
        self.found.append(message)


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

    def asked(self, task: str) -> str:
        """Return what a task asks, in English, and "(shift)" behind it where its scores measure that."""
        return self.asks.get(task, task.replace("_", " ")) + (" (shift)" if self.shifts(task) else "")

    def shifts(self, task: str | None) -> bool:
        """Tell whether the test images of a task, the default one for None, are of another distribution."""
        return (self.tasks[0] if task is None else task) in self.shifted


def choose_task(spec: DataSpec, tasks: tuple[str, ...]) -> str:
    """Return the task that ``spec`` names, the first where it names none."""
    if spec.task is None:
        return tasks[0]
    if spec.task not in tasks:
        raise SpecError(unknown(f"task of {spec.name}", spec.task, tasks))
    return spec.task
