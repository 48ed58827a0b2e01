"""The page of the networks: every network and cut point, the papers' counts beside ours."""

import json
from pathlib import Path

import pytest

from transfusion_lib import networks as models
from transfusion_lib.book import networks
from transfusion_lib.book.execute import Build


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the page includes, by the part's name."""
    build = Build(id="B", profile="live", folder=tmp_path_factory.mktemp("build"))
    build.source.mkdir()
    networks.write(build)
    return {path.stem.removeprefix("networks-"): path.read_text() for path in build.source.glob("*.md")}


def test_every_network_has_a_row_with_the_papers_count(pages: dict[str, str]) -> None:
    for name, row in models.TABLE.items():
        (line,) = [line for line in pages["sizes"].splitlines() if line.startswith(f"| {name} |")]
        assert row.table_1 is None or f"| {row.table_1:,} |" in line
    assert pages["sizes"].count("1,076,480") == 2, "our count by the paper's rule is the paper's"


def test_truncated_networks_have_the_papers_sizes(pages: dict[str, str]) -> None:
    for line in pages["variants"].splitlines()[2:]:
        _, _, ours, theirs, macs, paper, _ = (cell.strip() for cell in line.split("|"))
        assert float(ours) == pytest.approx(float(theirs), abs=0.05)
        assert float(macs) == pytest.approx(float(paper), rel=0.02)


def test_every_cut_point_is_listed(pages: dict[str, str]) -> None:
    assert "block3.4" in pages["cuts"]
    assert pages["cuts"].count("\n: ") == len(models.TABLE)


def test_shipped_weights_have_a_record_that_names_their_run() -> None:
    for row in models.TABLE.values():
        assert row.shipped.is_file() == row.record.is_file()
        if row.record.is_file():
            record = json.loads(row.record.read_text())
            assert record["spec"]["model"]["name"] == row.name
            assert 0.01 < record["top_1"] < record["top_5"] < 1
    shipped = [row.shipped for row in models.TABLE.values() if row.shipped.is_file()]
    assert sum(Path(path).stat().st_size for path in shipped) < 12e6
