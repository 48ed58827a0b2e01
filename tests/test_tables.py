"""Csv files as people have them."""

from pathlib import Path

import pytest

from tests.pictures import write_files
from transfusion_lib.data.reading.archive import open_files
from transfusion_lib.data.reading.catalogue import Problems
from transfusion_lib.data.reading.tables import Table, file_of, one_of, read_table, whole_number
from transfusion_lib.errors import DataError


def table(tmp_path: Path, content: bytes | str) -> Table:
    """Return the table in a file t.csv."""
    return read_table(open_files(write_files(tmp_path, {"t.csv": content})), "t.csv")


def rows(tmp_path: Path, content: bytes | str) -> tuple[list[list[str]], list[str]]:
    """Return the cells of each good row, and the problems of the others."""
    problems = Problems(raising=False)
    return [row.cells for row in table(tmp_path, content).rows(problems)], problems.found


@pytest.mark.parametrize(
    "content",
    [
        "image,level\na,1\nb,2\n",
        "image;level\r\na;1\r\nb;2\r\n",
        "image\tlevel\na\t1\nb\t2",
        "\ufeffimage,level\n\na,1\n\nb,2\n\n",
        '"image","level"\n"a","1"\n"b","2"\n',
    ],
)
def test_every_dialect_reads_alike(tmp_path: Path, content: str) -> None:
    """Delimiters, line ends, byte-order marks, blank lines, quotes."""
    assert rows(tmp_path, content) == ([["a", "1"], ["b", "2"]], [])


def test_cells_by_name(tmp_path: Path) -> None:
    """Columns are found whatever their case, cells are stripped, the row is the spreadsheet's."""
    row = next(table(tmp_path, "Image , LEVEL\n a , 1 \n").rows(Problems(raising=True)))
    assert (row["image"], row["level"]) == ("a", "1")
    assert row.where == f"{tmp_path / 't.csv'} row 2"


def test_missing_column(tmp_path: Path) -> None:
    """The error lists what is there, and the nearest name."""
    with pytest.raises(
        DataError, match=r't.csv row 1: no column "level"; did you mean "levels"\? Found: image, Levels;'
    ):
        table(tmp_path, "image,Levels\na,1\n").require("image", "level")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "image,name\na,é\n".encode() + b"b,caf\xe9\nc,z\n",
            "t.csv row 3: byte 0xe9 is not UTF-8; save the table as UTF-8",
        ),
        ("image,name\na,x\nb\nc,z\n", "t.csv row 3: 1 cells under 2 columns; quote or fill them"),
        ("image,name\na,x\nb,y,w\nc,z\n", "t.csv row 3: 3 cells under 2 columns; quote or fill them"),
    ],
)
def test_bad_rows_are_named_and_the_others_kept(tmp_path: Path, content: bytes | str, message: str) -> None:
    """One problem, with its row; strictly, an error."""
    good, problems = rows(tmp_path, content)
    assert [row[0] for row in good] == ["a", "c"]
    assert [problem.removeprefix(f"{tmp_path}/") for problem in problems] == [message]
    with pytest.raises(DataError, match="row 3"):
        list(table(tmp_path, content).rows(Problems(raising=True)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "row 1: no header"),
        (b"\n\n", "row 1: no header"),
        (b"image,level,IMAGE\n", 'row 1: two columns are called "IMAGE"; remove one'),
        (b'image,level\na,"x"y\n', "row 2: text follows a closing quote; double the quotes"),
        (b'image,level\na,1\nb,"2\n', "row 3: a quote opens here that nothing closes"),
        (b"a.png,1\nb.png,2\n", "row 1: no header: it names the image a.png"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, content: bytes, message: str) -> None:
    """One line with the file and the repair."""
    with pytest.raises(DataError, match=message) as caught:
        rows(tmp_path, content)
    assert "t.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "value", "problem"),
    [
        ("0", 0, None),
        ("4", 4, None),
        ("3.0", 3, None),
        ("5", None, 'level is "5"; it must be 0 to 4'),
        ("-1", None, 'level is "-1"; it must be 0 to 4'),
        ("2.5", None, 'level is "2.5"; it must be 0 to 4'),
        ("nan", None, 'level is "nan"; it must be 0 to 4'),
        ("two", None, 'level is "two"; it must be 0 to 4'),
        ("", None, "level is blank; it must be 0 to 4"),
    ],
)
def test_whole_numbers(tmp_path: Path, cell: str, value: int | None, problem: str | None) -> None:
    """Out of range, blank, not a number: named with the row."""
    problems = Problems(raising=False)
    row = next(table(tmp_path, f"image,level\na,{cell}\n").rows(problems))
    assert whole_number(row, "level", below=5, problems=problems) == value
    assert problems.found == ([f"{tmp_path / 't.csv'} row 2: {problem}"] if problem else [])


def test_names_and_files(tmp_path: Path) -> None:
    """A label that is none of the known, and an image that is not there."""
    write_files(tmp_path, {"a.png": b"x"})
    problems = Problems(raising=False)
    known, unknown, blank = table(tmp_path, "image,dx\na,NV\nb,mole\n,\n").rows(problems), None, None
    first, second = next(known), next(known)
    files = open_files(tmp_path)
    assert one_of(first, "dx", ("mel", "nv"), problems=problems) == 1
    assert file_of(first, first["image"], files, problems=problems) == "a.png"
    assert not problems.found
    assert one_of(second, "dx", ("mel", "nv"), problems=problems) is None
    assert file_of(second, second["image"], files, problems=problems) is None
    assert problems.found == [
        f'{tmp_path / "t.csv"} row 3: dx is "mole"; it must be one of mel, nv',
        f"{tmp_path / 't.csv'} row 3: image b is not in {tmp_path}; add the file or remove the row",
    ]
    assert unknown is blank
