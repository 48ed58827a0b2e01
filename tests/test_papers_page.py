"""The page "How we judge": every claim with its rule, plan, power and the paper's own number."""

import shutil
from pathlib import Path

import pytest

from transfusion_lib import papers, stats
from transfusion_lib.book import judging
from transfusion_lib.book.execute import Build
from transfusion_lib.papers import CLAIMS, Row
from transfusion_lib.papers.claims import Claim, Part, Plan
from transfusion_lib.papers.rules import above, within

PAGE = Path(__file__).resolve().parents[1] / "book" / "how-we-judge.md"
EXPECTED = [*(f"T{i}" for i in range(1, 16)), *(f"R{i}" for i in range(1, 12)), "N1", "N2", "N3"]


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    """The table by claim."""
    return {row.id: row for row in papers.table()}


def test_all_29_claims_stand_in_their_order_with_everything_filled(rows: dict[str, Row]) -> None:
    assert list(rows) == EXPECTED
    for row in rows.values():
        assert all((row.words, row.source, row.estimand, row.rule, row.plan, row.cells, row.printed))
        assert 0 <= row.power.whole <= min(row.power.parts.values())
    assert CLAIMS["T1"].parts["no change"].region == within(0.02)
    assert CLAIMS["T1"].parts["no change with large data"].region == within(0.015)
    assert CLAIMS["T2"].parts["difference"].region == above(-0.02)
    assert CLAIMS["R1"].parts["difference"].region == above(-0.01)
    assert CLAIMS["R1"].parts["difference"].scope == "pooled"


def test_the_papers_numbers_are_judged_where_they_can_be_read(rows: dict[str, Row]) -> None:
    read = {row.id for row in rows.values() if row.printed_outcome == "supported"}
    assert read == {"T1", "T2", "T3", "T4", "T8", "T11", "T13", "T14", "T15", "R2"}
    assert {row.printed_outcome for row in rows.values() if row.id not in read} == {"no number that the rule can read"}


def plain(plan: Plan) -> Claim:
    """A claim with one part, within 0.02, planned so."""
    part = Part(estimand="", region=within(0.02), effect="", asks="", plan=plan, contrasts={"": {"a": 1.0, "b": -1.0}})
    return Claim(id="X", chapter="", words="", source="", parts={"x": part}, cells="", untested="", printed="")


def test_power_is_that_of_its_tests_and_falls_with_cases_images_and_missing_runs() -> None:
    """One case has the power of its two one-sided tests, n - 1 degrees of freedom; fewer runs than 3 have none.

    The plan's table of seeds gives 8 runs 0.9, with the 2 n - 2 of independent arms; arms of one draw are paired.
    """
    eight = papers.power(plain(Plan(effect=0.0, runs=8, sd=0.010)))
    exact = stats.power(effect=0.0, se=0.010 / 2, df=7, low=-0.02, high=0.02)
    assert eight.whole == pytest.approx(exact, abs=0.02)
    assert not eight.underpowered
    assert papers.power(plain(Plan(effect=0.0, runs=8, sd=0.010, cases=4))).whole < 0.8
    images = papers.power(plain(Plan(effect=0.0, runs=8, sd=0.010, images_se=0.006)))
    assert images.underpowered
    assert str(images).endswith("underpowered by design")
    assert papers.power(plain(Plan(effect=0.0, runs=2, sd=0.001))).whole == 0


def test_the_book_has_the_page_with_every_claim(tmp_path: Path, rows: dict[str, Row]) -> None:
    """Written at build time for a book that has the page, and not at all for one that has not."""
    build = Build(id="B", profile="live", folder=tmp_path)
    build.source.mkdir()
    judging.write(build)
    assert not list(build.source.iterdir())
    shutil.copy(PAGE, build.source)
    judging.write(build)
    text = {path.name: path.read_text(encoding="utf-8") for path in build.source.iterdir()}
    for name in text:
        assert name == PAGE.name or f"```{{include}} {name}" in text[PAGE.name]
    for row in rows.values():
        (line,) = [line for line in text["judging-claims.md"].splitlines() if f"[{row.id}](judge-{row.id})" in line]
        assert str(row.power) in line
        assert f"(judge-{row.id})=" in text["judging-details.md"]
        assert (f"{row.id} ({row.power.whole:.2f})" in text["judging-power.md"]) == row.power.underpowered
    assert {line.count("|") for line in text["judging-claims.md"].splitlines()} == {6}
