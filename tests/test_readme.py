"""The README, followed word for word in a fresh clone, and its figures, which are the kept measurement's."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks import newcomer
from transfusion_lib.book import landing
from transfusion_lib.chapters.kit import planned
from transfusion_lib.chapters.summary import tables

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", README, re.M | re.S)
COMMANDS = [line.partition("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]


def test_the_newcomers_minutes_are_the_kept_measurements() -> None:
    kept = json.loads((ROOT / "results" / "bench" / "newcomer.json").read_text())
    shown = dict(re.findall(r"^\| (a [^|]+?) \| `[^`]+` \| ([\d.]+) \|", README, re.M))
    assert shown == {row["what"]: f"{row['value']:.1f}" for row in kept["rows"]}
    assert list(shown) == list(newcomer.GOALS)
    for row in kept["rows"]:
        assert newcomer.commands(README)[row["what"]] in row["details"], "measure again: transfusion bench newcomer"


def test_the_first_screen_says_and_shows_what_the_records_do(tmp_path: Path) -> None:
    findings = planned.found(planned.plan())
    for sentence in tables.sentences(findings, planned.board(findings)):
        assert " ".join(sentence.split()) in " ".join(README.split()), "the records changed: take this sentence over"
    if landing.draw(findings, tmp_path):
        kept = ROOT / "book" / "_static" / landing.FIGURE
        assert kept.read_text() == (tmp_path / landing.FIGURE).read_text(), "transfusion publish --study draws it again"


def test_every_command_of_the_readme_is_one_that_is_followed() -> None:
    assert len(COMMANDS) >= 10
    assert all(re.match(r"(TRANSFUSION_DATA=\S+ )?(make|\.venv/bin/transfusion) ", line) for line in COMMANDS), COMMANDS


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_the_readme_word_for_word(tmp_path: Path) -> None:
    """Only places are put in for /path/to; `make test` runs a few tests, being run by them.

    Commands on public downloads are skipped without TRANSFUSION_DATA. A store in TRANSFUSION_STORE is used.
    """
    clone, images = tmp_path / "clone", tmp_path / "images"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    newcomer.draw(images)
    data = os.environ.get("TRANSFUSION_DATA")
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "VIRTUAL_ENV"))}
    store = os.environ.get("TRANSFUSION_STORE") or str(tmp_path / "store")
    followed, left = [], []
    for line in [*COMMANDS, *newcomer.commands(README).values()]:
        if "/path/to/downloads" in line and data is None:
            left.append(line)
            continue
        command = line.replace("/path/to/images", str(images)).replace("/path/to/downloads", str(data))
        environment = quiet | {"TRANSFUSION_STORE": store}
        if line == "make test":
            environment["PYTEST_ADDOPTS"] = "-k test_top_level"
        done = subprocess.run(
            command, shell=True, cwd=clone, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        if pages := re.findall(r"^open file://(\S+)", done.stdout, re.M):
            assert Path(pages[-1]).is_file()
        followed.append(line)
    assert len(followed) + len(left) == len(COMMANDS) + 3
    shutil.rmtree(clone)
    if left:
        pytest.skip(f"followed {len(followed)} commands; without TRANSFUSION_DATA not: {left}")
