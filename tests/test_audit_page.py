"""The audit of one's own images: copies and conflicts by name, a page that shows all and runs nothing."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.pictures import encoded, write_files
from tests.test_copies import scan
from transfusion_lib import data
from transfusion_lib.data.reading import audit
from transfusion_lib.data.reading.describe import Check


def checked(root: Path) -> Check:
    """Return the check of 40 scans with a copy of another label, a cropped copy, and a file that cannot be read."""
    files: dict[str, bytes | str] = {f"{'ab'[k % 2]}/{k}.png": encoded(scan(k)) for k in range(40)}
    files["b/again.png"] = files["a/0.png"]
    files["a/cropped.jpg"] = encoded(scan(2).crop((4, 6, 194, 196)), "JPEG", quality=70)
    files["b/<script>alert(1)<script>.png"] = encoded(scan(77, size=120).convert("L"))
    return data.check(write_files(root / "set", files))


def test_copies_conflicts_sizes_and_contact_sheets(tmp_path: Path) -> None:
    found = checked(tmp_path).audit
    assert found is not None
    groups = {frozenset(group.names): group for group in found.groups}
    assert set(groups) == {frozenset({"a/0.png", "b/again.png"}), frozenset({"a/2.png", "a/cropped.jpg"})}
    same, near = groups[frozenset({"a/0.png", "b/again.png"})], groups[frozenset({"a/2.png", "a/cropped.jpg"})]
    assert (same.identical, same.conflicting, near.identical, near.conflicting) == (True, True, False, False)
    assert found.forms == {
        "200 x 200, colour, 8 bits": 41,
        "190 x 190, colour, 8 bits": 1,
        "120 x 120, grey, 8 bits": 1,
    }
    assert {name: len(pictures) for name, pictures in found.pictures.items()} == {"a": 12, "b": 12}


class Tags(HTMLParser):
    """Collects tags and the addresses that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag; an event handler counts as a script."""
        self.tags |= {tag, *("script" for name, _ in attrs if name.startswith("on"))}
        self.loads += [str(value) for name, value in attrs if name in ("src", "href")]


def test_the_page_shows_hostile_names_and_runs_nothing(tmp_path: Path) -> None:
    page = audit.page(checked(tmp_path))
    seen = Tags()
    seen.feed(page)
    assert "script" not in seen.tags
    assert all(address.startswith("data:image/jpeg;base64,") for address in seen.loads)
    assert len(seen.loads) == 24
    assert "default-src 'none'" in page
    assert "2 groups of images that show the same, 1 of them with different labels" in page
    assert re.search(r"<td>labels differ</td><td>a/0\.png \(\w+, a\); b/again\.png \(\w+, b\)</td>", page)
    assert "Unit that no two splits share: <b>image</b>" in page
    assert "Positive class: <b>" in page


def test_the_same_block_is_there_for_the_runs_of_own_data(tmp_path: Path) -> None:
    root = checked(tmp_path).path
    own = data.audit(data.spec_for(str(root), size=32), cache=tmp_path / "cache")
    assert own is not None
    assert "2 groups of images that show the same" in audit.block(*own)
    assert data.audit(data.spec_for("fundus")) is None


@pytest.mark.parametrize("unit", [r"(P\d+)", "person"])
def test_the_unit_can_be_given(tmp_path: Path, unit: str) -> None:
    """A pattern in file names, or a column of the table."""
    names = [f"{'ab'[k % 2]}/x{k % 4}-P{k // 2}.png" for k in range(40)]
    files: dict[str, bytes | str] = {name: encoded(scan(k)) for k, name in enumerate(names)}
    if unit == "person":
        rows = [f"{name},{name[0]},w{k // 2}" for k, name in enumerate(names)]
        files["labels.csv"] = "\n".join(["image,label,person", *rows])
    spec = data.spec_for(str(write_files(tmp_path / "set", files)), size=16, unit=unit)
    loaded = data.load(spec, cache=tmp_path / "cache")
    assert len({one for split in loaded.splits().values() for one in split.units}) == 20
    assert unit in loaded.notes["unit"]


def test_two_folders_of_one_name_have_a_page_each(tmp_path: Path) -> None:
    """And checking one again writes its own page again."""
    checks = [checked(tmp_path / patient) for patient in ("one", "two")]
    places = [audit.write(check, file=None) for check in [*checks, checks[0]]]
    assert places[0] != places[1]
    assert places[0] == places[2]
    assert [str(check.path) in place.read_text() for check, place in zip(checks, places, strict=False)] == [True, True]
