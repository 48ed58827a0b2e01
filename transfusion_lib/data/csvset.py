"""Anyone's images in a table: ISIC 2018 to 2024, and any csv with a column of images and labels.

The labels are one column of names or numbers, or a column of 0 and 1 for each class (ISIC 2018 and 2019). Columns are
known by their usual names, and that of the images also by its cells, which name files that are there. Splits come
from a split column or from tables called train, val and test; units from a lesion or patient column, which may lie
in a second table, as in ISIC 2019.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from transfusion_lib.data.archive import IMAGES, Files
from transfusion_lib.data.catalogue import Catalogue, Info, Item, Problems, SplitName
from transfusion_lib.data.filesource import FileSource
from transfusion_lib.data.folder import SPLITS
from transfusion_lib.data.tables import Row, Table, file_of, one_of, plain, read_table
from transfusion_lib.errors import DataError, SpecError, did_you_mean, unknown
from transfusion_lib.spec import DataSpec

IMAGE = (
    *("image", "image_name", "image_id", "isic_id", "filename", "file_name", "file", "path", "image_path"),
    *("img", "img_path", "filepath", "file_path", "image_file", "id_code", "id"),
)
LABEL = (
    *("label", "target", "class", "diagnosis", "dx", "benign_malignant", "grade", "level", "labels", "category"),
    *("class_name", "disease", "finding", "outcome", "retinopathy_grade", "dr_grade", "adjudicated_dr_grade"),
)
UNIT = ("patient_id", "patient", "lesion_id", "subject_id", "subject", "case_id", "patientid", "unit")
SPLIT = ("split", "set", "subset")
ONE_HOT, MULTI_LABEL = "one_hot", "multi_label"
SAMPLE = 20  # rows from which a column is recognised as one of images
NEARLY = 0.9  # share of rows with one label that makes the others faults
NO_LABELS = "submission"  # in the name of Kaggle's forms for answers, which look like tables of labels


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
            known = [name.lower() for name in self.classes]
            return one_of(row, self.task, known, problems=problems, written=_written)
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
    """Tell whether a csv names labels and images that are there."""
    return any(_found(table, str(_image_column(table, files)), files) for table in _tables(files).values())


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
    items: list[Item] = []
    for name, table in tables.items():
        column = _image_column(table, files)
        if column is None:
            raise _lacks(table, "images", IMAGE)
        table.require(*labels.columns)
        for row in table.rows(problems):
            item = _item(row, row[column], table, files, labels, units, splits[name], problems)
            if item is not None:
                items.append(item)
    _check_trained(items, labels, files)
    alone = sum(item.unit == item.id for item in items) if units else 0
    return Catalogue(
        notes={"units": f"{alone:,} image(s) without one in the tables count as their own"} if alone else {},
        task=labels.task,
        kind="multilabel" if labels.task == MULTI_LABEL else "multiclass",
        classes=labels.classes,
        items=tuple(items),
        channels=3,
        positive=(1,) if len(labels.classes) == 2 and labels.task != MULTI_LABEL else None,
    )


def _item(
    row: Row,
    image: str,
    table: Table,
    files: Files,
    labels: Labels,
    units: dict[str, str],
    split: SplitName | None,
    problems: Problems,
) -> Item | None:
    """Return the item of a row that names ``image``, or None where a problem was found."""
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
    if named and not row[named]:
        problems.add(f"{row.where}: {named} is blank; fill it, or images of one {named} may fall into several splits")
        return None
    unit = (row[named] if named else units.get(file)) or image
    return Item(id=image, file=file, label=label, unit=unit, split=split, row=row.where)


def _tables(files: Files, *, only: str | None = None) -> dict[str, Table]:
    """Return the shallowest tables with images and labels, by name; or the one called ``only``."""
    if only is not None:
        return {only: read_table(files, only)}
    depths: dict[int, list[str]] = defaultdict(list)
    for name in sorted(files.sizes):
        if name.lower().endswith(".csv") and NO_LABELS not in name.lower():
            depths[name.count("/")].append(name)
    for _, names in sorted(depths.items()):
        tables = {name: read_table(files, name) for name in names}
        named = {
            name: table
            for name, table in tables.items()
            if _image_column(table, files) and (table.choose(LABEL) or len(_bit_columns(table)) > 1)
        }
        if named:
            return named
    return {}


def _image_column(table: Table, files: Files) -> str | None:
    """Return the column whose cells name most images here; where none does, the first with a usual name, or None."""
    usual = list(dict.fromkeys(column for name in IMAGE if (column := table.choose([name]))))
    best = max([*usual, *table.columns], key=lambda column: _found(table, column, files), default=None)
    if best is not None and _found(table, best, files):
        return best
    return usual[0] if usual else None


def _found(table: Table, column: str, files: Files) -> int:
    """Return how many different images the first cells of a column name."""
    cells = [row[column] for row in islice(table.rows(Problems(raising=False)), SAMPLE)]
    found: set[str | None] = set()
    for cell in cells:
        with suppress(DataError):  # two files of that name: an error once the row is read
            found.add(files.find(cell) if cell else None)
    return len({name for name in found if name and name.lower().endswith(IMAGES)})


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
    """Return where the labels are: the column that ``task`` names, the first usual one, or a column per class.

    Columns per class hold one class an image if that is so in nearly every row, otherwise several labels at once.
    """
    table = tables[0]
    columns = _bit_columns(table)
    task = spec.task or table.choose(LABEL) or (ONE_HOT if _exclusive(table, columns) else MULTI_LABEL)
    if task in (ONE_HOT, MULTI_LABEL):
        if len(columns) < 2:  # a single one may be anything: name it as task if it is the label
            raise _lacks(table, "labels", LABEL)
        return Labels(task=task, columns=columns, classes=tuple(table.header[table.columns[name]] for name in columns))
    if task.lower() not in table.columns:
        raise SpecError(unknown(f"column of {table.location} for task", task, [*table.header, ONE_HOT, MULTI_LABEL]))
    return Labels(task=task.lower(), columns=(task.lower(),), classes=_classes(tables, task.lower()))


def _classes(tables: Sequence[Table], column: str) -> tuple[str, ...]:
    """Return the values of a column, numbers in their order; a ``DataError`` where they cannot be classes."""
    quiet = Problems(raising=False)
    counts = Counter(_written(row[column]) for table in tables if column in table.columns for row in table.rows(quiet))
    counts.pop("", None)
    location = tables[0].location
    for value in counts:
        twin = next((other for other in counts if other != value and other.lower() == value.lower()), None)
        if twin:
            raise DataError(f'{location}: {column} has "{value}" and "{twin}"; write the class one way')
    if len(counts) > max(2, sum(counts.values()) / 2):
        raise DataError(f"{location}: {column} has {len(counts)} different values; give a column of classes as task")
    return tuple(sorted(counts, key=lambda value: (not value.isdigit(), int(value) if value.isdigit() else 0, value)))


def _written(cell: str) -> str:
    """Return a class as it is called: pandas writes 1.0 for 1 in a column with a blank."""
    return cell.partition(".")[0] if re.fullmatch(r"\d+\.0+", cell) else cell


def _check_trained(items: Sequence[Item], labels: Labels, files: Files) -> None:
    """Raise a ``DataError`` for a class that val or test has and train lacks: a slip of the pen, most often."""
    if labels.task == MULTI_LABEL:
        return
    trained = {item.label for item in items if item.split in (None, "train")}
    names = [labels.classes[label] for label in trained if isinstance(label, int)]
    for item in items:
        if isinstance(item.label, int) and item.label not in trained:
            name = labels.classes[item.label]
            raise DataError(
                f"{item.row or files.path}: class {name} is in {item.split} but not in train"
                f"{did_you_mean(name, names)} Write the classes alike in every split"
            )


def _lacks(table: Table, what: str, names: Sequence[str]) -> DataError:
    """Return the error for a table without a usual column."""
    return DataError(
        f"{table.location} row 1: no column of {what} ({', '.join(names)}); has: {', '.join(table.header)}; rename one"
    )


def _units(files: Files, tables: dict[str, Table]) -> dict[str, str]:
    """Return the unit of each image file from tables beside the labels, such as the metadata of ISIC 2019."""
    quiet = Problems(raising=False)
    units: dict[str, str] = {}
    for name in sorted(files.sizes):
        if name.lower().endswith(".csv") and name not in tables:
            table = read_table(files, name)
            image, unit = _image_column(table, files), table.choose(UNIT)
            if image and unit:
                for row in table.rows(quiet):
                    file = files.find(row[image]) if row[image] else None
                    if file and row[unit]:
                        units[file] = row[unit]
    return units


def _bit_columns(table: Table) -> tuple[str, ...]:
    """Return the columns, other than those of images, units and splits, most of whose cells are 0 or 1."""
    others = [name for name in table.columns if plain(name) not in (*IMAGE, *UNIT, *SPLIT)]
    counts: Counter[str] = Counter()
    rows = 0
    for row in table.rows(Problems(raising=False)):
        rows += 1
        counts.update(name for name in others if _bit(row[name]) is not None)
    return tuple(name for name in others if counts[name] > rows / 2)


def _exclusive(table: Table, columns: Sequence[str]) -> bool:
    """Tell whether one of ``columns`` is 1 in nearly every row; the others are then faults."""
    rows = list(table.rows(Problems(raising=False)))
    single = sum(sum(_bit(row[column]) or 0 for column in columns) == 1 for row in rows)
    return single >= NEARLY * len(rows)


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
    version=2,
)
