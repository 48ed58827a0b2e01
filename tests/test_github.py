"""What GitHub reads: workflows, issue forms, the citation; and the hooks before a commit."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))


def checked(schema: str, *files: Path) -> subprocess.CompletedProcess[str]:
    """Hold files to a schema that check-jsonschema brings along."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", WORKFLOWS),
        ("github-issue-forms", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))),
        ("citation-file-format", [ROOT / "CITATION.cff"]),
    ],
)
def test_every_file_holds_to_its_schema(schema: str, files: list[Path]) -> None:
    assert files
    done = checked(schema, *files)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_faulty_workflow_is_found(tmp_path: Path) -> None:
    (tmp_path / "w.yml").write_text("on: push\njobs: {a: {runs-on: x, steps: [{run: a, usess: b}]}}\n")
    assert checked("github-workflows", tmp_path / "w.yml").returncode


def jobs(workflow: Path) -> dict[str, dict[str, Any]]:
    """Return the jobs of a workflow."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(workflow.read_text())["jobs"]
    return found


def triggers(workflow: Path) -> Any:
    """Return what starts a workflow; YAML reads the word ``on`` as true."""
    return yaml.safe_load(workflow.read_text())[True]


@pytest.mark.parametrize("workflow", [pytest.param(path, id=path.stem) for path in WORKFLOWS])
def test_a_workflow_is_bounded_and_runs_what_exists(workflow: Path) -> None:
    assert yaml.safe_load(workflow.read_text())["permissions"] == {"contents": "read"}
    for job in jobs(workflow).values():
        assert job["timeout-minutes"] <= 120
        for step in job["steps"]:
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step.get("uses", "a/b@v1")), "pinned to a major version"
            for target in re.findall(r"\bmake (\w+)", step.get("run", "")):
                assert target in TARGETS, f"no target {target}"


def test_each_workflow_starts_when_it_should() -> None:
    found = {path.stem: triggers(path) for path in WORKFLOWS}
    assert found["check"] == found["book"] == ["push", "pull_request"]
    assert found["publish"] == {"push": {"tags": ["v*"]}}
    runs = {name: [step.get("run", "") for job in jobs(ROOT / ".github" / "workflows" / f"{name}.yml").values()
                   for step in job["steps"]] for name in found}  # fmt: skip
    assert {"make check", "make test", "make audit"} <= set(runs["check"])
    assert {"make book", "make look"} <= set(runs["book"])
    assert {"make book", "make look", "make release", "make book PROFILE=live"} <= set(runs["publish"])


@pytest.mark.slow
def test_a_notebook_is_committed_without_outputs(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (hook,) = [one for one in config["repos"][0]["hooks"] if one["id"] == "outputs"]
    bin_folder = Path(sys.executable).parent
    command = [
        str(bin_folder / Path(word).name) if word.startswith(".venv/bin") else word for word in hook["entry"].split()
    ]
    source = ROOT / "notebooks" / "01-convergence.ipynb"
    notebook = json.loads(source.read_text())
    cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["secret\n"]}]
    cell["execution_count"] = 7
    path = tmp_path / source.name
    path.write_text(json.dumps(notebook))
    assert re.search(hook["files"], f"notebooks/{source.name}")
    subprocess.run([*command, str(path)], check=True)
    assert json.loads(path.read_text()) == json.loads(source.read_text())


@pytest.mark.slow
def test_the_hooks_stop_a_commit_with_outputs(tmp_path: Path) -> None:
    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words],
            cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "PRE_COMMIT_HOME": str(tmp_path / "cache")},
        )  # fmt: skip

    assert git("init", "--quiet").returncode == 0
    for name in (".pre-commit-config.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    (tmp_path / "notebooks").mkdir()
    path = tmp_path / "notebooks" / "01-a.ipynb"
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": "1", "outputs": [], "execution_count": 3}
    path.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    git("add", "notebooks", ".pre-commit-config.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "run", "outputs", "--all-files"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PRE_COMMIT_HOME": str(tmp_path / "cache")},
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert json.loads(path.read_text())["cells"][0]["execution_count"] is None
