"""The command line: exit status, messages for people, JSON for programs."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image
from typer.main import get_command

import transfusion_lib
from transfusion_lib import __main__ as cli
from transfusion_lib.book import build, completion, project
from transfusion_lib.errors import BuildError

ROOT = Path(__file__).resolve().parents[1]
COMMANDS: dict[str, Any] = get_command(cli.app).commands  # type: ignore[attr-defined]


class Answer(NamedTuple):
    """What a command gave back."""

    status: int
    out: str
    err: str


Call = Callable[..., Answer]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Return a function that runs ``transfusion`` with words."""

    def call(*words: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["transfusion", *words])
        capsys.readouterr()
        status: Any = 0
        try:
            cli.main()
        except SystemExit as end:
            status = end.code or 0
        shown = capsys.readouterr()
        return Answer(status, shown.out, shown.err)

    return call


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one chapter, the working directory, with a store of its own."""
    (tmp_path / "book" / "profiles").mkdir(parents=True)
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_config.yml").write_text("title: T\n")
    (tmp_path / "book" / "_toc.yml").write_text(
        "format: jb-book\nroot: index\nchapters:\n- file: notebooks/01-convergence\n"
    )
    for profile in ("live", "published"):
        (tmp_path / "book" / "profiles" / f"{profile}.toml").write_text('description = "d"\nlive = true\n')
    (tmp_path / "book" / "profiles" / "more.toml").write_text(
        'description = "d"\nlive = true\n[chapter.convergence]\nseeds = [0, 1, 2]\n'
    )
    values = {
        "dataset": "fundus", "size": 32, "train_images": 64, "val_images": 40, "test_images": 40,
        "networks": ["cbr_tiny"], "inits": ["random"], "seeds": [0], "steps": 4, "eval_every": 2, "batch_size": 8,
        "learning_rate": 0.001, "threshold": 0.8, "in_a_row": 1, "pretrained": "auto", "precision": "float32",
        "control_networks": ["cbr_tiny"], "controls": [], "control_seeds": [0],
    }  # fmt: skip
    lines = "\n".join(f"{name} = {value!r}  # meaning of {name}" for name, value in values.items())
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "metadata": {}, "source": "# Convergence\n\nWho is first?"},
        {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": lines, "outputs": []},
        {"cell_type": "code", "metadata": {}, "source": "1 / 0", "outputs": []},
    ]
    for number, cell in enumerate(cells):
        cell |= {"id": f"c{number}"} | ({"execution_count": None} if cell["cell_type"] == "code" else {})
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    document = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    project.write_notebook(tmp_path / "notebooks" / "01-convergence.ipynb", document)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFUSION_STORE", str(tmp_path / "store"))
    return tmp_path


# Help and start


def test_help_answers_without_the_heavy_modules() -> None:
    program = (
        "import sys, runpy; sys.argv = ['transfusion', '--help']\n"
        "try: runpy.run_module('transfusion_lib', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'pandas', 'matplotlib', 'papermill', 'pydantic', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    *help_lines, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    assert set(COMMANDS) <= {line.split()[0] for line in help_lines if line.strip()}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_an_example_that_parses(call: Call, name: str) -> None:
    answer = call(name, "--help")
    assert answer.status == 0
    command = COMMANDS[name]
    epilogs = [command.epilog] if command.epilog else [sub.epilog for sub in command.commands.values()]
    for epilog in epilogs:
        assert epilog.startswith(f"Example: transfusion {name}")
        words = epilog.removeprefix("Example: transfusion ").split()
        assert COMMANDS[words[0]].make_context(words[0], words[1:], resilient_parsing=True) is not None


def test_version(call: Call) -> None:
    status, out, _ = call("--version")
    assert status == 0
    assert out.startswith(f"transfusion {transfusion_lib.__version__}\n")
    assert {"commit", "python", "torch", "processor", "store"} <= {line.split()[0] for line in out.splitlines()}


# Mistakes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["boook"], "'book'"),
        (["book", "--profil", "live"], "--profile"),
        (["book", "--only", "convergense"], '"convergense"; did you mean "convergence"? Known: convergence.'),
        (["book", "--profile", "lvie"], 'unknown profile "lvie"; did you mean "live"? Known: live, more, published.'),
        (["chapter", "convergense"], 'did you mean "convergence"?'),
        (["chapter", "convergence", "-p", "sedes=[1]"], 'unknown parameter "sedes"; did you mean "seeds"?'),
        (["chapter", "convergence", "-p", "seeds=1"], "seeds is list[int], got '1'; for example -p seeds=[0]"),
        (["chapter", "convergence", "-p", "seeds"], "key=value"),
        (["chapter", "convergence", "--dry-run", "-p", "steps=0"], "steps: Input should be greater than 0"),
        (["chapter", "convergence", "--dry-run", "-p", "dataset=fundos"], '"fundos"; did you mean "fundus"?'),
        (["compare", "convergence", "sedes=[1]"], 'unknown parameter "sedes"; did you mean "seeds"?'),
        (["compare", "convergence", "steps=4"], "two of the sets are the same"),
        (["compare", "convergence", "steps=0", "--dry-run"], "steps: Input should be greater than 0"),
        (["compare", "convergence"], "SET..."),
        (["address", "example.org"], "for example https://github.com/owner/name"),
        (["train", "convergence", "--engine", "slurm"], 'unknown engine "slurm"'),
        (["todo", "convergense"], 'did you mean "convergence"?'),
        (["run", "nowhere.json"], "nowhere.json: cannot read the spec"),
        (["run", "{}"], "the given JSON: "),
        (["run"], "SPEC"),
    ],
)  # fmt: skip
def test_a_mistake_exits_2_with_one_message(small: Path, call: Call, words: list[str], message: str) -> None:
    answer = call(*words)
    assert answer.status == 2
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert answer.out == ""
    assert not (small / "build").exists()


def test_outside_a_project_the_librarys_own_is_used(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = call("book", "--only", "nowhere")
    assert (answer.status, "Known: " in answer.err) == (2, True)


# Failures


def test_a_broken_cell_exits_1_with_chapter_cell_and_traceback(small: Path, call: Call) -> None:
    answer = call("book")
    assert answer.status == 1
    assert "chapter convergence (01-convergence.ipynb), cell In [2] failed" in answer.err
    assert "    1 / 0" in answer.err
    assert "ZeroDivisionError: division by zero" in answer.err


def test_an_interrupt_is_no_traceback(small: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "book", interrupted)
    assert call("book").status == 130


def test_the_page_to_open_is_the_last_line(small: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "book", lambda *_, **__: small / "build" / "index.html")
    assert call("book").out.splitlines()[-1] == f"open file://{small.resolve()}/build/index.html"


def test_a_failure_of_the_build_exits_1(small: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> Path:
        raise BuildError("index: not rendered")

    monkeypatch.setattr(build, "book", failing)
    assert call("book") == (1, "", "error: index: not rendered\n")


# Plans and runs


def test_the_parameters_are_listed_typed(small: Path, call: Call) -> None:
    answer = call("chapter", "convergence", "--list-parameters", "--profile", "more", "-p", "steps=6", "--json")
    rows = {row["name"]: row for row in json.loads(answer.out)}
    assert rows["seeds"] == {
        "name": "seeds", "value": [0, 1, 2], "type": "list[int]", "default": [0],
        "allowed": "one or more of: at least 0", "meaning": "meaning of seeds",
    }  # fmt: skip
    assert rows["steps"]["value"] == 6
    assert rows["threshold"]["allowed"] == "above 0.5, below 1"
    assert rows["inits"]["allowed"] == "one or more of: random, mean_var, pretrained"
    text = call("chapter", "convergence", "--list-parameters").out
    assert "meaning of learning_rate" in text


def test_a_plan_says_what_its_pretrained_starts_lack(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: Call
) -> None:
    for name in ("TORCH_HOME", "TRANSFUSION_DATA", "TRANSFUSION_WEIGHTS", "TRANSFUSION_STORE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    few = ["-p", "model=resnet50", "-p", "small_model=None", "-p", "seeds=[0]"]
    shown = call("chapter", "transfusion", "--dry-run", *few).out
    assert "resnet50: ImageNet weights are not on this machine and would be downloaded from https://" in shown
    assert "into the folder TRANSFUSION_WEIGHTS; or add -p pretrained=without_download" in shown
    assert shown.count("ImageNet") == 1, "once, however many runs start from them"


def test_a_dry_run_says_what_would_train_and_trains_nothing(small: Path, call: Call) -> None:
    answer = call("chapter", "convergence", "--dry-run", "-p", "seeds=[0,1]")
    assert answer.status == 0
    assert answer.out.count("missing") == 2
    assert answer.out.splitlines()[-1].startswith("2 runs, 2 to train")
    plan = json.loads(call("todo", "convergence", "--profile", "more", "--json").out)
    assert [(one["state"], one["spec"]["seed"]) for one in plan] == [("missing", 0), ("missing", 1), ("missing", 2)]
    assert not list((small / "store").glob("runs/*"))


def test_a_comparisons_dry_run_counts_each_run_once(small: Path, call: Call) -> None:
    answer = call("compare", "convergence", "seeds=[0,1]", "seeds=[1,2] threshold=0.7", "--dry-run")
    assert answer.out.splitlines()[-1].startswith("3 runs, 3 to train")
    both = json.loads(call("compare", "convergence", "steps=6", "--dry-run", "--json").out)
    assert [one["spec"]["train"]["steps"] for one in both] == [4, 6]
    assert not list((small / "store").glob("runs/*"))


def test_parameters_are_completed_from_the_notebook(small: Path) -> None:
    import click

    with click.Context(COMMANDS["chapter"]) as context:
        context.params["name"] = "convergence"
        assert completion.parameters(context, "st") == ["steps="]  # type: ignore[arg-type]
        assert completion.parameters(context, "seeds=") == ["seeds=[0]"]  # type: ignore[arg-type]
        context.params["name"] = "nowhere"
        assert completion.parameters(context, "st") == []  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_shell_completes_chapters_and_parameters(small: Path) -> None:
    def offered(line: str) -> list[str]:
        words = {"_TRANSFUSION_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line}
        program = Path(sys.executable).parent / "transfusion"
        done = subprocess.run([program], env=os.environ | words, capture_output=True, text=True, check=False)
        return [word.partition('"')[0] for word in done.stdout.split('"')[1::2]]

    assert offered("transfusion chapter conv") == ["convergence"]
    assert offered("transfusion chapter convergence -p thr") == ["threshold="]


def test_the_page_is_opened_when_asked(small: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(build, "book", lambda *_, **__: small / "index.html")
    assert call("book").status == 0
    assert opened == []
    assert call("book", "--open").status == 0
    assert opened == [f"file://{small.resolve()}/index.html"]


def test_a_run_is_trained_once_told_counted_and_verified(small: Path, call: Call) -> None:
    plan = json.loads(call("todo", "convergence", "--json").out)
    path = small / "spec.json"
    path.write_text(json.dumps(plan[0]["spec"]))
    first = call("run", str(path))
    assert (first.status, "trained in" in first.err) == (0, True)
    assert first.out.splitlines()[1].split()[0] == plan[0]["key"][:12]

    again = call("run", json.dumps(plan[0]["spec"]), "--json")
    assert "from the store" in again.err
    assert json.loads(again.out)["key"] == plan[0]["key"]

    assert json.loads(call("todo", "convergence", "--json").out)[0]["state"] == "done"
    estimate = json.loads(call("todo", "convergence", "--profile", "more", "--json").out)[1]["estimate_s"]
    assert estimate is not None
    assert "1 finished runs, 0 running" in call("status").out
    assert json.loads(call("status", "--json").out)["runs"] == 1
    checked = call("verify", "--seed", "7")
    assert checked.out.splitlines()[-2:] == ["1 runs checked, 0 damaged", "1 trained again (seed 7), 0 differ"]
    assert "training again, " in checked.err
    assert call("verify", "--sample", "0").out == "1 runs checked, 0 damaged\n"
    asked = call("verify", plan[0]["key"][:8])
    assert asked.out.splitlines()[-1] == "1 trained again (as asked), 0 differ"
    wrong = call("verify", "xyz")
    assert (wrong.status, "has 1 finished runs, but none begins with xyz" in wrong.err) == (1, True)
    assert "one or the other" in call("verify", plan[0]["key"][:8], "--sample", "1").err
    assert "judged by" in asked.out

    record = small / "store" / "runs" / plan[0]["key"] / "record.json"
    record.write_text(record.read_text().replace("0", "1", 1))
    damaged = call("verify", "--json")
    assert damaged.status == 1
    assert json.loads(damaged.out)["problems"][0]["key"] == plan[0]["key"]
    assert json.loads(call("todo", "convergence", "--json").out)[0]["state"] == "missing"


def test_a_study_is_trained_and_its_commands_make_nothing_twice(small: Path, call: Call) -> None:
    lines = call("todo", "convergence", "--commands").out.splitlines()
    assert len(lines) == 1
    trained = call("train", "convergence", "--engine", "here")
    assert (trained.status, trained.out) == (0, "")
    assert "[1/1] fundus 32 px, cbr_tiny, random, seed 0: trained in" in trained.err
    assert call("todo", "convergence", "--commands").out == ""
    assert "from the store" in call(*shlex.split(lines[0])[1:]).err
    [row] = json.loads(call("train", "convergence", "--json").out)
    assert row["run"] == "fundus 32 px, cbr_tiny, random, seed 0"


# Data and networks


def test_the_data_sets_are_listed_and_described(call: Call) -> None:
    rows = {row["name"]: row for row in json.loads(call("data", "list", "--json").out)}
    assert rows["fundus"]["where"] == "computed"
    assert "chest_xray" in call("data", "list").out
    assert "synthetic fundus" in call("data", "show", "fundus").out
    assert call("data", "show", "fundos").status == 2


def test_the_faults_of_a_folder_are_told_with_status_2(call: Call, tmp_path: Path) -> None:
    for kind in ("benign", "malignant"):
        for number in range(12):
            path = tmp_path / "images" / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.effect_noise((32, 32), 50 + number).save(path)
    good = call("data", "check", str(tmp_path / "images"))
    assert (good.status, good.out.splitlines()[0].endswith("24 images, layout folder, 0 problems")) == (0, True)
    assert good.out.splitlines()[4:6] == ["  benign     8      1    3", "  malignant  9      1    2"]
    (tmp_path / "images" / "benign" / "3.png").write_bytes(b"not a picture")
    bad = call("data", "check", str(tmp_path / "images"), "--json")
    assert (bad.status, json.loads(bad.out)["ok"]) == (2, False)
    assert any("3.png" in line for line in json.loads(bad.out)["problems"])
    (tmp_path / "images" / "stray.png").write_bytes(b"")
    assert call("data", "show", str(tmp_path / "images")).status == 2
    shown = call("data", "show", str(tmp_path / "images"), "--skip")
    assert (shown.status, "left out: " in shown.out, "stray.png: lies in no class folder" in shown.out) == (
        0,
        True,
        True,
    )


def test_a_network_is_described(call: Call) -> None:
    found = json.loads(call("models", "cbr_tiny", "--size", "32", "--json").out)
    assert [row["paper_parameters"] for row in found] == [1_076_480]
    assert "pool1, pool2, pool3, pool4" in call("models", "cbr_tiny", "--size", "32").out
    assert 'did you mean "cbr_tiny"' in call("models", "cbr_tin").err
