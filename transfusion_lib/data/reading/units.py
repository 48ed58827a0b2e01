"""Which images belong to one patient, where the data say so in a way of their own.

A unit is never split between train and test, so a wrong guess that joins images costs little, and a unit that is not
seen makes scores too good. What is guessed here is remarked on.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from transfusion_lib.data.reading.archive import normal
from transfusion_lib.data.reading.catalogue import EXAMPLES, Item, Problems
from transfusion_lib.data.reading.tables import plain
from transfusion_lib.errors import DataError, SpecError

USUAL = ("patient_id", "patient", "lesion_id", "subject_id", "subject", "case_id", "patientid", "unit")
"""Columns that are units by their names alone; others must look like it."""
WORDS = re.compile(r"patient|subject|person|participant|mrn|pid|lesion|donor|animal|mouse|specimen|slide|case|eye|exam")
IDS = re.compile(r"(^|_)(id|ids|no|nr|num|number|nummer|code|key|uid)$|id$")
NOT_UNITS = re.compile(
    r"device|scanner|site|hospital|cent(er|re)|camera|model|zip|post|date|time|year|version|grader|reader|annotat"
    r"|physician|doctor|operator|radiolog|batch|fold|split|set$|class|label|^dx|diagnos|grade|(^|_)age|sex|gender|race"
    r"|country|region|url|hash|magnif|view|side|lateral|modality|type"
)
FEWEST = 5  # different values below which a column or a head of names is no patient
LARGEST = 0.3  # share of the images above which a value is no patient
HEAD = re.compile(r"(?P<head>\D*\d+[a-z]?)[ _.\-](?P<rest>.*[^ _.\-].*)", re.IGNORECASE)


def unit_form(text: str) -> str:
    """Return the one form of a unit: 5, 5.0 and 005 are the same, and so are P5 and p5."""
    folded = normal(text).casefold()
    number = re.fullmatch(r"0*(\d+)(?:\.0+)?", folded)
    return number[1] if number else folded


def repeating_column(columns: Mapping[str, Sequence[str]]) -> str | None:
    """Return the column, of those by name with their cells, that most likely names patients, or None.

    It has a name like one, or one of an id, or cells of letters and digits; and its values repeat.
    """
    ranked = []
    for column, cells in columns.items():
        name, values = plain(column), Counter(unit_form(cell) for cell in cells if cell)
        if NOT_UNITS.search(name) or not _repeats(values):
            continue
        coded = sum(n for value, n in values.items() if re.fullmatch(r"(?=.*\d)(?=.*[a-z])[\w\-]+", value))
        rank = 0 if WORDS.search(name) else 1 if IDS.search(name) else 2 if coded > 0.9 * values.total() else None
        if rank is not None:
            ranked.append((rank, len(values), column))
    return min(ranked)[2] if ranked else None


def _repeats(values: "Counter[str]") -> bool:
    return FEWEST <= len(values) <= 0.8 * values.total() and max(values.values()) <= LARGEST * values.total()


def by_pattern(items: Sequence[Item], pattern: str) -> list[Item]:
    """Return the items with the unit that a regular expression finds in their files' names: its first group, or all.

    A ``SpecError`` where it is none, a ``DataError`` for the first name that it does not find anything in.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SpecError(f'unit "{pattern}" is no column of the table, and no pattern: {error}') from None
    found = []
    for item in items:
        match = compiled.search(item.file)
        if match is None or not (unit := match[1] if compiled.groups else match[0]):
            raise DataError(
                f'{item.file}: unit "{pattern}" is no column of the table, and finds nothing in this name; '
                "give a column, or a regular expression whose first group is the patient"
            )
        found.append(replace(item, unit=unit_form(unit), family=None))
    return found


def heads(names: Sequence[str], *, classes: Sequence[object], problems: Problems) -> dict[str, str]:
    """Return the unit of each of ``names``, if each begins with a number that repeats; nothing otherwise.

    P0012_03.png is the third image of P0012. A head that only says the class of ``classes`` is none. What is found
    is remarked on, and so are heads that are too few to be patients.
    """
    found: dict[str, str] = {}
    for name in names:
        match = HEAD.fullmatch(normal(name.rpartition("/")[2].rpartition(".")[0]))
        if match is None:
            return {}
        found[name] = match["head"]
    of_class: dict[object, set[str]] = defaultdict(set)
    for name, label in zip(names, classes, strict=True):
        of_class[label].add(found[name])
    values = Counter(found.values())
    counted_anew = len({*zip(classes, found.values(), strict=True)}) > 0.8 * len(names)  # in each class, from 1
    if len(values) < 2 or counted_anew or all(len(each) == 1 for each in of_class.values()):
        return {}
    examples = ", ".join(sorted(values)[:EXAMPLES])
    if not _repeats(values):
        problems.remark(
            f"file names begin with {len(values):,} repeating numbers ({examples}), too few to draw splits by: "
            "if they are patients, give each a folder below its class, or a column patient_id"
        )
        return {}
    problems.remark(
        f"file names begin with {len(values):,} repeating numbers ({examples} ...), taken for patients: "
        "images with the same one stay in one split"
    )
    return {name: unit_form(head) for name, head in found.items()}


def named_alike(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return the different spellings of each unit that has several, by its form."""
    spelt: dict[str, set[str]] = defaultdict(set)
    for text in texts:
        spelt[unit_form(text)].add(text)
    return {form: sorted(each) for form, each in spelt.items() if len(each) > 1}
