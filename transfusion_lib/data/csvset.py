"""Anyone's images in a table: ISIC 2018 to 2024, and any csv with a column of images and labels.

The labels are one column of names or numbers, or a column of 0 and 1 for each class (ISIC 2018 and 2019). Splits come
from a split column or from tables called train, val and test; units from a lesion or patient column, which may lie
in a second table, as in ISIC 2019.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transfusion_lib.data.archive import Files
from transfusion_lib.data.catalogue import Catalogue, Info, Item, Problems, SplitName
from transfusion_lib.data.filesource import FileSource
from transfusion_lib.data.folder import SPLITS
from transfusion_lib.data.tables import Row, Table, file_of, one_of, read_table
from transfusion_lib.errors import DataError, SpecError, unknown
from transfusion_lib.spec import DataSpec

IMAGE = ("image", "image_name", "image_id", "isic_id", "filename", "file", "path", "id_code", "id")
LABEL = ("label", "target", "class", "diagnosis", "dx", "benign_malignant", "grade", "level")
UNIT = ("patient_id", "patient", "lesion_id", "subject_id", "subject", "case_id", "unit")
SPLIT = ("split", "set", "subset")
ONE_HOT, MULTI_LABEL = "one_hot", "multi_label"


@dataclass(frozen=True, kw_only=True)
class Labels:
    """How the rows say what an image shows."""

    task: str
    columns: tuple[str, ...]
    """The one column of ``task``, or one for each class."""
    classes: tuple[str, ...]

    def of(self, row: Row, problems: Problems) -> int | tuple[float, ...] | None:
        """Return the label of a row; a problem, and None, where it has none."""
        if self.task not in (ONE_HOT, MULTI_LABEL):
            return one_of(row, self.task, [name.lower() for name in self.classes], problems=problems)
        cells = [_bit(row[column]) for column in self.columns]
        for column, cell in zip(self.columns, cells, strict=True):
            if cell is None:
                problems.add(f'{row.where}: {column} is "{row[column]}"; it must be 0 or 1')
                return None
        bits = tuple(float(cell or 0) for cell in cells)
        if self.task == MULTI_LABEL:
            return bits
        if sum(bits) != 1:
            problems.add(
                f'{row.where}: {sum(bits):.0f} classes are 1; mark one, or use task "{MULTI_LABEL}" if several may hold'
            )
            return None
        return bits.index(1)


def recognise(files: Files) -> bool:
    """Tell whether a csv names images and labels."""
    return bool(_tables(files))


def read(files: Files, spec: DataSpec, problems: Problems) -> Catalogue:
    """Return the catalogue of the table that ``root`` names, or of the tables in its folder."""
    chosen = Path(spec.root).name if spec.root and spec.root.lower().endswith(".csv") else None
    tables = _tables(files, only=chosen)
    if not tables:
        raise DataError(
            f"{files.path}: no csv with images ({', '.join(IMAGE[:4])} ...) and labels ({', '.join(LABEL[:4])} ...) "
            "or a column of 0 and 1 for each class; rename its columns"
        )
    splits = _splits_of(tables, files)
    labels = _labels(list(tables.values()), spec)
    units = _units(files, tables)
    items = []
    for name, table in tables.items():
        if table.choose(IMAGE) is None:
            raise _lacks(table, "images", IMAGE)
        table.require(*labels.columns)
        for row in table.rows(problems):
            item = _item(row, table, files, labels, units, splits[name], problems)
            if item is not None:
                items.append(item)
    return Catalogue(
        task=labels.task,
        kind="multilabel" if labels.task == MULTI_LABEL else "multiclass",
        classes=labels.classes,
        items=tuple(items),
        channels=3,
        positive=(1,) if len(labels.classes) == 2 and labels.task != MULTI_LABEL else None,
    )


def _item(
    row: Row,
    table: Table,
    files: Files,
    labels: Labels,
    units: dict[str, str],
    split: SplitName | None,
    problems: Problems,
) -> Item | None:
    """Return the item of a row, or None where a problem was found."""
    image = row[str(table.choose(IMAGE))]
    label = labels.of(row, problems)
    file = file_of(row, image, files, problems=problems)
    column = table.choose(SPLIT)
    if column is not None:
        index = one_of(row, column, list(SPLITS), problems=problems)
        if index is None:
            return None
        split = list(SPLITS.values())[index]
    if label is None or file is None:
        return None
    named = table.choose(UNIT)
    unit = (row[named] if named else units.get(image)) or image
    return Item(id=image, file=file, label=label, unit=unit, split=split, row=row.where)


def _tables(files: Files, *, only: str | None = None) -> dict[str, Table]:
    """Return the shallowest tables with images and labels, by name; or the one called ``only``."""
    names = [name for name in files.sizes if name.lower().endswith(".csv")]
    if only is not None:
        return {only: read_table(files, only)}
    depth = min((name.count("/") for name in names), default=0)
    tables = {name: read_table(files, name) for name in sorted(names) if name.count("/") == depth}
    return {
        name: table
        for name, table in tables.items()
        if table.choose(IMAGE) and (table.choose(LABEL) or _bit_columns(table))
    }


def _splits_of(tables: dict[str, Table], files: Files) -> dict[str, SplitName | None]:
    """Return the split that each table's name says; a ``DataError`` where several tables say none."""
    if len(tables) == 1:
        return dict.fromkeys(tables)
    found: dict[str, SplitName | None] = {}
    for name in tables:
        stem = name.rsplit("/", 1)[-1].rsplit(".", 1)[0].lower()
        found[name] = next((split for word, split in SPLITS.items() if word in stem.replace("-", "_").split("_")), None)
    if None in found.values() or len(set(found.values())) < len(found):
        raise DataError(f"{files.path}: several tables of images ({', '.join(tables)}); give the one meant as root")
    return found


def _labels(tables: Sequence[Table], spec: DataSpec) -> Labels:
    """Return where the labels are: the column that ``task`` names, the first usual one, or a column per class."""
    table = tables[0]
    task = spec.task or table.choose(LABEL) or ONE_HOT
    if task in (ONE_HOT, MULTI_LABEL):
        columns = _bit_columns(table)
        if not columns:
            raise _lacks(table, "labels", LABEL)
        return Labels(task=task, columns=columns, classes=tuple(table.header[table.columns[name]] for name in columns))
    if task.lower() not in table.columns:
        raise SpecError(unknown(f"column of {table.location} for task", task, [*table.header, ONE_HOT, MULTI_LABEL]))
    return Labels(task=task.lower(), columns=(task.lower(),), classes=_classes(tables, task.lower()))


def _classes(tables: Sequence[Table], column: str) -> tuple[str, ...]:
    """Return the values of a column, numbers in their order; a ``DataError`` where they cannot be classes."""
    quiet = Problems(raising=False)
    counts = Counter(row[column] for table in tables if column in table.columns for row in table.rows(quiet))
    counts.pop("", None)
    location = tables[0].location
    for value in counts:
        twin = next((other for other in counts if other != value and other.lower() == value.lower()), None)
        if twin:
            raise DataError(f'{location}: {column} has "{value}" and "{twin}"; write the class one way')
    if len(counts) > max(2, sum(counts.values()) / 2):
        raise DataError(f"{location}: {column} has {len(counts)} different values; give a column of classes as task")
    return tuple(sorted(counts, key=lambda value: (not value.isdigit(), int(value) if value.isdigit() else 0, value)))


def _lacks(table: Table, what: str, names: Sequence[str]) -> DataError:
    """Return the error for a table without a usual column."""
    return DataError(
        f"{table.location} row 1: no column of {what} ({', '.join(names)}); has: {', '.join(table.header)}; rename one"
    )


def _units(files: Files, tables: dict[str, Table]) -> dict[str, str]:
    """Return the unit of each image from tables beside the labels, such as the metadata of ISIC 2019."""
    quiet = Problems(raising=False)
    units: dict[str, str] = {}
    for name in sorted(files.sizes):
        if name.lower().endswith(".csv") and name not in tables:
            table = read_table(files, name)
            image, unit = table.choose(IMAGE), table.choose(UNIT)
            if image and unit:
                units |= {row[image]: row[unit] for row in table.rows(quiet) if row[unit]}
    return units


def _bit_columns(table: Table) -> tuple[str, ...]:
    """Return the columns, other than those of images, units and splits, most of whose cells are 0 or 1."""
    others = [name for name in table.columns if name not in (*IMAGE, *UNIT, *SPLIT)]
    counts: Counter[str] = Counter()
    rows = 0
    for row in table.rows(Problems(raising=False)):
        rows += 1
        counts.update(name for name in others if _bit(row[name]) is not None)
    return tuple(name for name in others if counts[name] > rows / 2)


def _bit(text: str) -> int | None:
    """Return 0 or 1 for "0", "1.0" and the like, None for anything else."""
    try:
        value = float(text)
    except ValueError:
        return None
    return int(value) if value in (0, 1) else None


SOURCE = FileSource(
    info=Info(
        what="your own images named in a csv, ISIC style",
        tasks=("label", ONE_HOT, MULTI_LABEL),
        licence="yours",
        source="your own, or the ISIC challenges 2018 to 2024",
        unit="the patient or lesion column where there is one, otherwise the image",
        splits="a split column, or tables called train, val and test; what is missing is drawn by unit",
        layout="a csv with columns image and label (and patient_id, split), the images in the same folder or below",
    ),
    places=("isic",),
    recognise=recognise,
    read=read,
)
