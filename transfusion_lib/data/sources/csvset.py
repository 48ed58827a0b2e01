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
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from transfusion_lib.data.reading import units, unread
from transfusion_lib.data.reading.archive import IMAGES, Files
from transfusion_lib.data.reading.catalogue import Catalogue, Info, Item, Problems, SplitName, choose_positive
from transfusion_lib.data.reading.filesource import FileSource
from transfusion_lib.data.reading.layout import SPLITS, split_of
from transfusion_lib.data.reading.tables import Row, Table, file_of, is_table, one_of, plain, read_table
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
SPLIT = ("split", "set", "subset")
ONE_HOT, MULTI_LABEL = "one_hot", "multi_label"
WORDS = {"true": 1, "yes": 1, "t": 1, "y": 1, "false": 0, "no": 0, "f": 0, "n": 0}
SAMPLE = 20  # rows from which a column is recognised as one of images
NEARLY = 0.9  # share of rows with one label that makes the others faults
PEOPLE = ("male", "female", "sex", "gender", "man", "woman", "smoker", "is_male", "is_female", "sex_male", "sex_female")
"""Columns of 0 and 1 that say who was imaged, not what the image shows."""
MASKS = re.compile(r"(^|_)(mask|masks|seg|segmentation|annotation)(_|$)")
BLANK = ("", "nan", "na", "n/a", "#n/a", "null", "?")
"""What programs write where nothing is known, in lower case."""
NO_LABELS = "submission"  # in the name of Kaggle's forms for answers, which look like tables of labels


@dataclass(frozen=True, kw_only=True)
class Labels:
    """How the rows say what an image shows."""

    task: str
    columns: tuple[str, ...]
    """The one column of ``task``, or one for each class."""
    classes: tuple[str, ...]
    listed: bool = False
    """The one column holds lists such as [0, 1, 0], a place for each class."""

    def of(self, row: Row, problems: Problems) -> int | tuple[float, ...] | None:
        """Return the label of a row; a problem, and None, where it has none."""
        if self.task not in (ONE_HOT, MULTI_LABEL):
            places = _listed(row[self.task]) if self.listed else None
            if places is not None and sum(places) == 1:
                return places.index(1)
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
    chosen = Path(spec.root).name if spec.root and is_table(spec.root) else None
    tables = _tables(files, only=chosen)
    task, asked = _asked(spec, tables)
    spec = spec.replace(task=task)
    if not tables:
        raise DataError(
            f"{files.path}: no csv with images ({', '.join(IMAGE[:4])} ...) and labels ({', '.join(LABEL[:4])} ...) "
            "or a column of 0 and 1 for each class; rename its columns"
        )
    splits = _splits_of(tables, files)
    labels = _labels(list(tables.values()), spec, problems)
    column = spec.unit is not None and all(spec.unit.lower() in table.columns for table in tables.values())
    pattern = None if column else spec.unit
    unit = str(spec.unit).lower() if column else None if pattern else _unit_column(tables, files, labels, problems)
    others = {} if unit or pattern else _units(files, tables)
    items: list[Item] = []
    for name, table in tables.items():
        columns = _image_columns(table, files, labels, problems)
        if not columns:
            raise _lacks(table, "images", IMAGE)
        table.require(*labels.columns)
        own = unit if unit in table.columns else None
        place = Place(columns=columns, unit=own, split=splits[name], split_column=table.choose(SPLIT))
        for row in table.rows(problems):
            items += _items(row, files, labels, place, others, problems)
    if pattern:
        items, unit_told = units.by_pattern(items, pattern), f"pattern {pattern} in the file names"
    else:
        items, unit_told = _with_units(items, unit, others, problems)
    _check_trained(items, labels, files)
    used = {item.file for item in items}
    unread.remark_unread(files, problems, used={*used, *tables, *(others and _unit_tables(files, tables))})
    unread.remark_unnamed(files, problems, used=used)
    alone = sum(item.unit == item.id for item in items) if others else 0
    counts = Counter(item.label for item in items)
    single = labels.task != MULTI_LABEL
    positive = choose_positive(labels.classes, [counts[k] for k in range(len(labels.classes))], asked=asked)
    return Catalogue(
        notes={"unit": unit_told}
        | ({"positive class": positive.told} if positive and single else {})
        | ({"units": f"{alone:,} image(s) without one in the tables count as their own"} if alone else {}),
        task=f"{labels.task}={asked}" if asked else labels.task,
        kind="multilabel" if labels.task == MULTI_LABEL else "multiclass",
        classes=labels.classes,
        items=tuple(items),
        channels=3,
        positive=positive.classes if positive and single else None,
    )


def _asked(spec: DataSpec, tables: dict[str, Table]) -> tuple[str | None, str | None]:
    """Return the task of ``spec``, and the positive class that may stand behind it: label=malignant."""
    task, equals, asked = (spec.task or "").partition("=")
    if not equals or any((spec.task or "").lower() in table.columns for table in tables.values()):
        return spec.task, None
    return task or None, asked


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the rows of one table say what."""

    columns: tuple[str, ...]
    """Those that name images: two where a row is a patient with two eyes."""
    unit: str | None
    split: SplitName | None
    """That of the whole table."""
    split_column: str | None


def _items(
    row: Row, files: Files, labels: Labels, place: Place, others: dict[str, str], problems: Problems
) -> list[Item]:
    """Return the items of a row, one for each column of images; none if the row has a fault."""
    label = labels.of(row, problems)
    names = [row[column] for column in place.columns if row[column] or len(place.columns) == 1]
    found = [(name, file_of(row, name, files, problems=problems)) for name in names]
    split = place.split
    if place.split_column is not None:
        split = split_of(row[place.split_column])
        if split is None and one_of(row, place.split_column, list(SPLITS), problems=problems) is None:
            return []
    if label is None or any(file is None for _, file in found):
        return []
    if place.unit and row[place.unit].lower() in BLANK:
        what = f"{place.unit} is blank; fill it, or images of one {place.unit} may fall into several splits"
        problems.add(f"{row.where}: {what}")
        return []
    unit = row[place.unit] if place.unit else None
    return [
        Item(id=name, file=file, label=label, unit=unit or others.get(file) or names[0], split=split, row=row.where)
        for name, file in found
        if file is not None
    ]


def _unit_column(tables: dict[str, Table], files: Files, labels: Labels, problems: Problems) -> str | None:
    """Return the column of patients: one with a usual name, or one whose values repeat like a patient's."""
    table = next(iter(tables.values()))
    usual = table.choose(units.USUAL)
    if usual is not None:
        return usual
    taken = {*_image_columns(table, files, labels, problems), *labels.columns, table.choose(SPLIT), table.choose(LABEL)}
    taken |= set(_bit_columns(table))
    columns = [column for column in table.columns if column not in taken and plain(column) not in LABEL]
    rows = [row for each in tables.values() for row in each.rows(Problems(raising=False))]
    cells = {column: [row[column] for row in rows if column in row.columns] for column in columns}
    found = units.repeating_column(cells)
    if found is not None:
        number = len({units.unit_form(cell) for cell in cells[found] if cell})
        problems.remark(
            f"the {number:,} values of column {found} repeat and are taken for patients: images with the same one stay "
            "in one split"
        )
    return found


def _with_units(
    items: list[Item], column: str | None, others: dict[str, str], problems: Problems
) -> tuple[list[Item], str]:
    """Return the items with one spelling of each unit, and in words what a unit is."""
    alike = units.named_alike([item.unit for item in items]) if column or others else {}
    for spellings in alike.values():
        problems.remark("patient(s) written in several ways, taken as one", " = ".join(spellings))
    told = f"column {column}" if column else "patient or lesion of the table beside the labels" if others else "image"
    if not column and not others:
        found = units.heads([item.file for item in items], classes=[item.label for item in items], problems=problems)
        if found:
            return [replace(item, unit=found[item.file]) for item in items], "number at the head of the file name"
    return [
        replace(item, unit=alike[form][0]) if (form := units.unit_form(item.unit)) in alike else item for item in items
    ], told


def _tables(files: Files, *, only: str | None = None) -> dict[str, Table]:
    """Return the shallowest tables with images and labels, by name; or the one called ``only``.

    A table that cannot be read is a ``DataError`` if no other one serves.
    """
    if only is not None:
        return {only: read_table(files, only)}
    depths: dict[int, list[str]] = defaultdict(list)
    for name in sorted(files.sizes):
        if is_table(name) and NO_LABELS not in name.lower():
            depths[name.count("/")].append(name)
    broken: list[DataError] = []
    for _, names in sorted(depths.items()):
        found: dict[str, Table] = {}
        for name in names:
            try:
                table = read_table(files, name)
                if _image_column(table, files) and (table.choose(LABEL) or len(_bit_columns(table)) > 1):
                    found[name] = table
            except DataError as error:
                broken.append(error)
        if found:
            return found
    if broken:
        raise broken[0]
    return {}


def _image_column(table: Table, files: Files) -> str | None:
    """Return the column whose cells name most images here; where none does, the first with a usual name, or None."""
    usual = list(dict.fromkeys(column for name in IMAGE if (column := table.choose([name]))))
    best = max([*usual, *table.columns], key=lambda column: len(_found(table, column, files)), default=None)
    if best is not None and _found(table, best, files):
        return best
    return usual[0] if usual else None


def _image_columns(table: Table, files: Files, labels: Labels, problems: Problems) -> tuple[str, ...]:
    """Return the column of images, and others that name as many other images: the two eyes of a patient."""
    main = _image_column(table, files)
    if main is None:
        return ()
    named = _found(table, main, files)
    columns = [main]
    for column in table.columns:
        other = _found(table, column, files) if column != main and column not in labels.columns else set()
        if len(other) > 0.8 * len(named) and not other & named:
            if MASKS.search(plain(column)):
                problems.remark(f"column {column} names masks, not read")
            else:
                columns.append(column)
    columns.sort(key=table.columns.__getitem__)
    if len(columns) > 1:
        problems.remark(
            f"columns {' and '.join(columns)} all name images: each row gives {len(columns)}, with its label, "
            "which stay in one split"
        )
    return tuple(columns)


def cells(files: Files, *, only: str | None = None) -> dict[str, dict[str, str]]:
    """Return the cells of each image's rows, by file and column (lower case), over the tables that name images.

    ``only`` is the one table to read; rows that cannot be read are left out.
    """
    found: dict[str, dict[str, str]] = {}
    for name in [only] if only else sorted(name for name in files.sizes if is_table(name)):
        quiet = Problems(raising=False)
        try:
            table = read_table(files, name)
        except DataError:  # told of where the images are read
            continue
        column = _image_column(table, files)
        for row in table.rows(quiet) if column else ():
            file = file_of(row, row[str(column)], files, problems=quiet)
            if file is not None:
                found[file] = found.get(file, {}) | {own: row[own] for own in table.columns}
    return found


def _found(table: Table, column: str, files: Files) -> set[str]:
    """Return the different images that the first cells of a column name."""
    if column not in table.columns:
        return set()
    cells = [row[column] for row in islice(table.rows(Problems(raising=False)), SAMPLE)]
    found: set[str | None] = set()
    for cell in cells:
        with suppress(DataError):  # two files of that name: an error once the row is read
            found.add(files.find(cell) if cell else None)
    return {name for name in found if name and name.lower().endswith(IMAGES)}


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


def _labels(tables: Sequence[Table], spec: DataSpec, problems: Problems) -> Labels:
    """Return where the labels are: the column that ``task`` names, the first usual one, or a column per class.

    Columns per class hold one class an image if that is so in nearly every row, otherwise several labels at once.
    """
    table = tables[0]
    columns = _label_columns(table, spec, problems)
    task = spec.task or table.choose(LABEL) or (ONE_HOT if _exclusive(table, columns) else MULTI_LABEL)
    if task in (ONE_HOT, MULTI_LABEL):
        if len(columns) < 2:  # a single one may be anything: name it as task if it is the label
            raise _lacks(table, "labels", LABEL)
        return Labels(task=task, columns=columns, classes=tuple(table.header[table.columns[name]] for name in columns))
    if task.lower() not in table.columns:
        raise SpecError(unknown(f"column of {table.location} for task", task, [*table.header, ONE_HOT, MULTI_LABEL]))
    column = task.lower()
    width = _list_width(tables, column)
    if width:
        problems.remark(
            f"{column} holds lists such as one-hot [0, 1, 0]: a class is called by its place in them, from 0"
        )
        return Labels(task=column, columns=(column,), classes=tuple(map(str, range(width))), listed=True)
    return Labels(task=column, columns=(column,), classes=_classes(tables, column, problems))


def _label_columns(table: Table, spec: DataSpec, problems: Problems) -> tuple[str, ...]:
    """Return the columns of 0 and 1 that are classes: without those of people, or one that alone spoils the others."""
    columns = _bit_columns(table)
    classes = tuple(name for name in columns if plain(name) not in PEOPLE)
    if len(classes) > 2 and not _exclusive(table, classes):
        rest = [tuple(name for name in classes if name != odd) for odd in classes]
        classes = next((each for each in rest if _exclusive(table, each)), classes)
    aside = [name for name in columns if name not in classes]
    if len(classes) < 2 or spec.task == MULTI_LABEL:
        return columns
    if aside and not table.choose(LABEL):
        problems.remark(f"column(s) of 0 and 1 that are no class beside the others, not read: {', '.join(aside)}")
    return classes


def _list_width(tables: Sequence[Table], column: str) -> int:
    """Return the length of the lists of 0 and 1, with one 1 in most, that a column holds; 0 if it holds no lists."""
    rows = [row[column] for table in tables if column in table.columns for row in table.rows(Problems(raising=False))]
    lists = [_listed(cell) for cell in rows if cell]
    widths = {len(bits) if bits is not None and sum(bits) == 1 else 0 for bits in lists}
    return widths.pop() if len(widths) == 1 else 0


def _listed(cell: str) -> list[int] | None:
    """Return the bits of a cell such as [0, 1, 0] or [0. 1. 0.]; None for anything else."""
    inner = re.fullmatch(r"[\[(]\s*(.*?)\s*[\])]", cell)
    bits = [_bit(part) for part in re.split(r"[,;\s]+", inner[1])] if inner else []
    return [bit for bit in bits if bit is not None] if len(bits) > 1 and None not in bits else None


def _classes(tables: Sequence[Table], column: str, problems: Problems) -> tuple[str, ...]:
    """Return the values of a column, numbers in their order; a ``DataError`` where they cannot be classes."""
    quiet = Problems(raising=False)
    cells = Counter(row[column] for table in tables if column in table.columns for row in table.rows(quiet))
    for cell in [cell for cell in cells if cell.lower() in BLANK]:
        del cells[cell]
    counts: Counter[str] = Counter()
    for cell, number in cells.items():
        counts[_written(cell)] += number
        if _written(cell) != cell and _written(cell) in cells:
            problems.remark("label(s) written in several ways, taken as one", f"{cell} = {_written(cell)}")
    location = tables[0].location
    folded: dict[str, str] = {}
    for value in counts:
        twin = folded.setdefault(value.lower(), value)
        if twin != value:
            raise DataError(f'{location}: {column} has "{twin}" and "{value}"; write the class one way')
    if len(counts) > max(2, sum(counts.values()) / 2):
        raise DataError(f"{location}: {column} has {len(counts)} different values; give a column of classes as task")
    return tuple(sorted(counts, key=_order))


def _order(value: str) -> tuple[bool, int, str]:
    """Return what sorts classes: numbers by size, -1 before 1, then names."""
    number = re.fullmatch(r"-?\d{1,18}", value)
    return number is None, int(value) if number else 0, value


def _written(cell: str) -> str:
    """Return a class as it is called: pandas writes 1.0 for 1 in a column with a blank, others 01."""
    number = re.fullmatch(r"(-?)0*(\d+)(?:\.0+)?", cell)
    return number[1] + number[2] if number else cell


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


def _unit_tables(files: Files, tables: dict[str, Table]) -> dict[str, Table]:
    """Return the tables beside the labels that name images and their units, such as the metadata of ISIC 2019."""
    found: dict[str, Table] = {}
    for name in sorted(files.sizes):
        if is_table(name) and name not in tables:
            with suppress(DataError):  # a table of something else
                table = read_table(files, name)
                if _image_column(table, files) and table.choose(units.USUAL):
                    found[name] = table
    return found


def _units(files: Files, tables: dict[str, Table]) -> dict[str, str]:
    """Return the unit of each image file from tables beside the labels."""
    quiet = Problems(raising=False)
    found: dict[str, str] = {}
    for table in _unit_tables(files, tables).values():
        image, unit = _image_column(table, files), table.choose(units.USUAL)
        for row in table.rows(quiet):
            file = files.find(row[image]) if image and row[image] else None
            if file and unit and row[unit]:
                found[file] = row[unit]
    return found


def _bit_columns(table: Table) -> tuple[str, ...]:
    """Return the columns, other than those of images, units and splits, most of whose cells are 0 or 1."""
    others = [name for name in table.columns if plain(name) not in (*IMAGE, *units.USUAL, *SPLIT)]
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
    """Return 0 or 1 for "0", "1.0", "True", "no" and the like, None for anything else."""
    if text.lower() in WORDS:
        return WORDS[text.lower()]
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
    version=3,
    own=True,
)
