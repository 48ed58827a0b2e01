"""The page "Add to it", done step by step in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "extend.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
STEP = re.compile(
    r"(?:In `(?P<edited>[^`]+)`, below `(?P<anchor>[^`]+)`:|Write `(?P<written>[^`]+)`:)?\s*"
    r"```(?P<kind>yaml|python|text|console)\n(?P<text>.*?)```",
    re.S,
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The repository's files, to be changed, beside its records."""
    place = tmp_path / "copy"
    place.mkdir()
    (place / "results").symlink_to(ROOT / "results")
    for name in ("transfusion_lib", "notebooks", "book", "tests", "pyproject.toml", "_config.yml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, place)
    return place


def walk(section: str, copy: Path, **environment: str) -> str:
    """Do the steps of a section; return what its commands printed."""
    said = ""
    for step in STEP.finditer(SECTIONS[section]):
        text = step["text"]
        if step["written"]:
            (copy / step["written"]).write_text(text)
        elif step["edited"]:
            path = copy / step["edited"]
            lines = path.read_text().splitlines(keepends=True)
            place = next(k for k, line in enumerate(lines) if line.strip().startswith(step["anchor"]))
            path.write_text("".join([*lines[: place + 1], text, *lines[place + 1 :]]))
        else:
            assert step["kind"] == "console", f"a step that says nothing of where: {text}"
            for command in text.splitlines():
                said += run(command, copy, **environment)
    return said


def run(command: str, copy: Path, **environment: str) -> str:
    """Run a command of the page with the copy's own library; return what it printed."""
    library = f"{sys.executable} -m"
    command = re.sub(r"^transfusion ", f"{library} transfusion_lib ", command)
    command = re.sub(r"^pytest ", f"{library} pytest -q -n 0 -p no:cacheprovider ", command)
    command = re.sub(r"^python ", f"{sys.executable} ", command)
    variables = os.environ | {"PYTHONPATH": str(copy), "TRANSFUSION_STORE": str(copy / ".store"), **environment}
    done = subprocess.run(command, shell=True, cwd=copy, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_every_section_has_steps_and_a_test() -> None:
    assert set(SECTIONS) == {"A chapter", "A network", "A data set", "A claim"}
    assert all(len(STEP.findall(text)) >= 2 for text in SECTIONS.values())


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_chapter(copy: Path) -> None:
    notebook = copy / "notebooks" / "00-tutorial.ipynb"  # the copy of it in the steps is as quick as this
    notebook.write_text(notebook.read_text().replace("= 400", "= 32").replace("steps = 40", "steps = 4"))
    assert "notebooks" in walk("A chapter", copy) or (copy / "build" / "book" / "html" / "index.html").is_file()
    assert (copy / "build" / "book" / "html" / "notebooks" / "14-mine.html").is_file()


@pytest.mark.slow
def test_a_network(copy: Path) -> None:
    said = walk("A network", copy)
    assert "pool1, pool2, pool3" in said
    assert re.search(r"[1-9]\d* passed", said)


@pytest.mark.slow
def test_a_data_set(copy: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for label in ("benign", "malignant"):
        for patient in range(24):
            path = tmp_path / "data" / "thyroid" / label / f"{label[0]}{patient}_0.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 255, (32, 32), dtype=np.uint8)).save(path)
    said = walk("A data set", copy, TRANSFUSION_DATA=str(tmp_path / "data"))
    assert "48 images, layout thyroid, 0 problems" in said
    assert "6 runs, 6 to train" in said


@pytest.mark.slow
def test_a_claim(copy: Path) -> None:
    said = walk("A claim", copy)
    assert "supported" in said
    assert re.search(r"Cutting changed the test Dice .* by -0\.03", said)
