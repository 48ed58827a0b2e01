"""A newcomer's path: ``transfusion bench newcomer``, from a clone to three first results, as the README has them.

Each figure is the time of cloning, of setting up and of its own command, in a store of its own; packages come from
pip's and uv's caches where they are warm, and from the network where they are not. The images are drawn here: 300
pictures of 160 pixels, one class with a bright disc, in one folder per class.
"""

import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.report import Report

ROOT = Path(__file__).resolve().parents[1]
GOALS = ("a first figure", "a figure of your own images", "a changed parameter")


def commands(readme: str) -> dict[str, str]:
    """Return the command behind each goal of the README's table."""
    return {goal: re.search(rf"^\| {goal} \| `([^`]+)`", readme, re.M)[1] for goal in GOALS}  # type: ignore[index]


def measure(report: Report) -> None:
    """Clone, set up, and take each path."""
    wanted = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        clone, images = Path(folder) / "clone", Path(folder) / "images"
        draw(images)
        own = {"TRANSFUSION_STORE": str(Path(folder) / "store"), "VIRTUAL_ENV": ""}
        began = time.perf_counter()
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        subprocess.run(["make", ".venv/.ready"], cwd=clone, check=True, capture_output=True)
        setup = time.perf_counter() - began
        for goal, command in wanted.items():
            began = time.perf_counter()
            line = command.replace("/path/to/images", str(images))
            done = subprocess.run(line, shell=True, cwd=clone, env=os.environ | own, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{line}\n{done.stdout}{done.stderr}")
            minutes = (setup + time.perf_counter() - began) / 60
            details = f"2 commands: git clone, {command}; of it {setup / 60:.1f} minutes to clone and set up"
            report.add(goal, minutes, "minutes", details=details)
    report.note("Packages came from this machine's package cache; a first download of about 2 GB comes on top.")


def draw(folder: Path) -> None:
    """Write a folder per class with 150 pictures each."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:160, :160]
    for label in ("healthy", "lesion"):
        (folder / label).mkdir(parents=True)
        for number in range(150):
            picture = generator.normal(110, 25, (160, 160))
            if label == "lesion":
                y, x = generator.integers(30, 130, 2)
                picture[(rows - y) ** 2 + (columns - x) ** 2 < 300] += 60
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / label / f"{number:03}.png")
