"""Rows of the csv files that people have: any delimiter, byte-order marks, bad bytes, ragged rows, blank labels."""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from transfusion_lib.data.reading.archive import IMAGES, INVISIBLE, Files, normal
from transfusion_lib.data.reading.catalogue import Problems
from transfusion_lib.errors import DataError, did_you_mean

DELIMITERS = ",;\t|"
TABLES = (".csv", ".tsv", ".tab")
DIGIT = re.compile(r"\d")
csv.field_size_limit(2**26)  # a report or an encoded picture in a cell is longer than the module's limit
UNDECODED = re.compile("[\udc80-\udcff]")  # what the error handler surrogateescape makes of a bad byte


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its cells by lower-case column name."""

    cells: list[str]
    columns: dict[str, int]
    where: str
    """The file and the row, for messages; the header is row 1."""

    def __getitem__(self, column: str) -> str:
        """Return a cell in its ``normal`` form."""
        return normal(self.cells[self.columns[column]])


@dataclass(frozen=True)
class Table:
    """A csv file whose header has been read."""

    location: str
    header: tuple[str, ...]
    columns: dict[str, int]
    text: str
    delimiter: str
    row: int
    """The line of the header, from 1."""
    notes: tuple[str, ...] = ()
    """How it was read, where that is not as it is written."""

    def require(self, *columns: str) -> None:
        """Raise a ``DataError`` for the first of ``columns`` (lower case) that is missing."""
        for column in columns:
            if column not in self.columns:
                raise DataError(
                    f'{self.location} row 1: no column "{column}"{did_you_mean(column, self.columns)} '
                    f"Found: {', '.join(self.header)}; add it or rename one"
                )

    def choose(self, columns: Sequence[str]) -> str | None:
        """Return the first of ``columns`` that the table has, or None: "patient_id" is also "Patient ID"."""
        own = {plain(column): column for column in reversed(self.columns)}
        return next((own[column] for column in columns if column in own), None)

    def rows(self, problems: Problems) -> Iterator[Row]:
        """Yield the rows that are whole and readable; the others are problems. A quote left open is a ``DataError``."""
        for note in self.notes:
            problems.remark(note)
        doubtful, veiled = UNDECODED.search(self.text) is not None, INVISIBLE.search(self.text) is not None
        lines = list(io.StringIO(self.text, newline=""))
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        last = 0
        try:
            for cells in reader:
                first, last = last + 1, reader.line_num
                where = f"{self.location} row {first}"
                if last <= self.row or not any(cells):
                    continue
                self._check_quotes(cells, lines[first:last], where)
                bad = UNDECODED.search("".join(cells)) if doubtful else None
                if bad is not None:
                    problems.add(f"{where}: byte 0x{ord(bad[0]) - 0xDC00:02x} is not UTF-8; save the table as UTF-8")
                elif len(cells) != len(self.header):
                    problems.add(f"{where}: {len(cells)} cells under {len(self.header)} columns; quote or fill them")
                else:
                    if veiled and INVISIBLE.search("".join(cells)):
                        problems.remark("row(s) with invisible characters, which are not read", where)
                    yield Row(cells, self.columns, where)
        except csv.Error as error:
            what = f"{error}; save it as a plain csv"
            if "end of data" in str(error):
                what = "a quote opens here that nothing closes; remove it, or double it inside a quoted cell"
            elif "expected after" in str(error):
                what = "text follows a closing quote; double the quotes inside a quoted cell, or remove them"
            raise DataError(f"{self.location} row {last + 1}: {what}") from None

    def _check_quotes(self, cells: list[str], swallowed: Sequence[str], where: str) -> None:
        """Raise a ``DataError`` if the lines inside a quoted cell are themselves rows of the table."""
        for line in swallowed:
            inner = next(csv.reader([line], delimiter=self.delimiter))
            if len(inner) == len(self.header) and _shape(inner[0]) == _shape(cells[0]):
                raise DataError(
                    f"{where}: a quote opens here and takes in the next {len(swallowed)} line(s), which are rows; "
                    "remove it, or double it inside a quoted cell"
                )


def _shape(cell: str) -> str:
    """Return what kind of text a cell holds: letters as a, digits as 9."""
    return re.sub(r"9+", "9", re.sub(r"\d", "9", re.sub(r"[^\W\d_]+", "a", normal(cell))))


def plain(column: str) -> str:
    """Return a column's name in lower case, with one underscore for whatever lies between its words."""
    return re.sub(r"[\W_]+", "_", column.lower()).strip("_")


def is_table(name: str) -> bool:
    """Tell whether a file is a table by its name."""
    return name.lower().endswith(TABLES)


def read_table(files: Files, name: str) -> Table:
    """Return the table in a csv file; a ``DataError`` for one that is empty or without a sound header."""
    location = files.location(name)
    text, notes = _decoded(files.read(name), location)
    lines = list(io.StringIO(text, newline=""))
    row = next((index for index, line in enumerate(lines) if line.strip()), len(lines))
    told = re.fullmatch(r'"?sep=(.)"?', lines[row].strip(), re.IGNORECASE) if row < len(lines) else None
    row += 1 if told else 0  # Excel's own line
    if row >= len(lines):
        raise DataError(f"{location} row 1: no header; write the names of the columns there")
    first = lines[row]
    delimiter = told[1] if told else max(DELIMITERS, key=re.sub('"[^"]*"', "", first).count)
    header = tuple(normal(cell) for cell in next(csv.reader([first], delimiter=delimiter)))
    columns: dict[str, int] = {}
    for index, column in enumerate(header):
        if column and columns.setdefault(column.lower(), index) != index:
            raise DataError(f'{location} row {row + 1}: two columns are called "{column}"; remove one')
    pictures = [cell for cell in header if cell.lower().endswith(IMAGES) or (DIGIT.search(cell) and files.find(cell))]
    if pictures:
        raise DataError(
            f"{location} row {row + 1}: no header: it names the image {pictures[0]}; "
            f'write a line with the names of the columns above it, such as "image{delimiter}label"'
        )
    return Table(location, header, columns, text, delimiter, row + 1, notes)


def _decoded(data: bytes, location: str) -> tuple[str, tuple[str, ...]]:
    """Return the text of a table, and a note where it is in no encoding of Unicode."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace"), ()
    text = data.decode("utf-8-sig", errors="surrogateescape")
    if not UNDECODED.search(text) or any(c > "\x7f" and not UNDECODED.match(c) for c in text):
        return text, ()  # a bad byte among good ones is a fault of its row
    note = f"{location} is not UTF-8 and was read as Latin-1 (Windows-1252): check the accents"
    return data.decode("cp1252", errors="replace"), (note,)


def whole_number(row: Row, column: str, *, below: int, problems: Problems) -> int | None:
    """Return a cell that holds 0 to ``below`` - 1; anything else is a problem, and None."""
    text = row[column]
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value.is_integer() and 0 <= value < below:
        return int(value)
    what = f'is "{text}"' if text else "is blank"
    problems.add(f"{row.where}: {column} {what}; it must be 0 to {below - 1}")
    return None


def one_of(
    row: Row, column: str, known: Sequence[str], *, problems: Problems, written: Callable[[str], str] = str
) -> int | None:
    """Return the position of a cell's text, as ``written``, in ``known`` (lower case); else a problem, and None."""
    text = written(row[column]).lower()
    if text in known:
        return known.index(text)
    what = f'is "{row[column]}"' if text else "is blank"
    problems.add(f"{row.where}: {column} {what}; it must be one of {', '.join(known)}")
    return None


def file_of(row: Row, name: str, files: Files, *, problems: Problems, within: str = "") -> str | None:
    """Return the image that a row names; a missing one is a problem, and None."""
    found = files.find(name, within=within) if name else None
    asked, called = (text.replace("\\", "/").rpartition("/")[2].partition(".")[0] for text in (name, found or ""))
    if found is not None and asked != called and called.lstrip("0") == asked.lstrip("0"):
        problems.remark("row(s) name a number without the zeros before it", f"{name} is {found}")
    if found is None:
        what = f"image {name} is not in {files.path}" if name else "names no image"
        problems.add(f"{row.where}: {what}; add the file or remove the row")
    return found
