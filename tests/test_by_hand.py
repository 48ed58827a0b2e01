"""What a tinkerer meets in a notebook: own plots appear, errors are a line, a stop keeps its curve, names exist."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from jupyter_client.manager import KernelManager, start_new_kernel

from transfusion_lib import chapters
from transfusion_lib.book import parameters, project
from transfusion_lib.book.live import Reporter
from transfusion_lib.chapters import Tutorial
from transfusion_lib.chapters.kit import cells, curve_figures, style
from transfusion_lib.chapters.kit.curve_tables import mean_curves
from transfusion_lib.chapters.tutorial import tables
from transfusion_lib.errors import ParameterError, SpecError
from transfusion_lib.runs.grid import Grid
from transfusion_lib.runs.standing import Standing
from transfusion_lib.runs.trainer import Made
from transfusion_lib.spec import RunSpec
from transfusion_lib.training.train import Progress

ROOT = Path(__file__).resolve().parents[1]
Outputs = list[dict[str, Any]]


class Notebook:
    """A kernel as a notebook's cells see it."""

    def __init__(self, manager: KernelManager, client: Any) -> None:
        self.manager, self.client = manager, client

    def run(self, source: str, *, stop_after: str | None = None) -> Outputs:
        """Execute a cell and return what it shows; ``stop_after`` presses stop once that text was shown."""
        asked = self.client.execute(source)
        shown: Outputs = []
        while True:
            message = self.client.get_iopub_msg(timeout=120)
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return shown
            if kind in ("stream", "display_data", "execute_result", "error", "update_display_data"):
                shown.append({"kind": kind, **content})
                if stop_after and stop_after in str(content):
                    self.manager.interrupt_kernel()
                    stop_after = None


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A fresh kernel in an empty folder, with a store of its own."""
    folder = tmp_path_factory.mktemp("anywhere")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRANSFUSION_")}
    environment |= {"TRANSFUSION_STORE": str(folder / "store"), "TRANSFUSION_DEVICE": "cpu", "PYTHONPATH": str(ROOT)}
    manager, client = start_new_kernel(kernel_name="python3", env=environment, cwd=str(folder))
    try:
        yield Notebook(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def kinds(shown: Outputs) -> set[str]:
    """Return the MIME types of what a cell shows."""
    return {kind for one in shown for kind in one.get("data", {})}


def error(shown: Outputs) -> str:
    """Return what a notebook prints of the only error of a cell."""
    (found,) = [one for one in shown if one["kind"] == "error"]
    return "\n".join(found["traceback"])


def test_own_plots_appear_after_ours(notebook: Notebook) -> None:
    ours = """\
from transfusion_lib.book.learning import learning
from transfusion_lib.chapters.kit import style
assert style.svg(learning({"a run": ([0, 5], [0.5, 0.6])}, score="val_auroc", steps=10))"""
    assert not notebook.run(ours)
    own = "import seaborn\nseaborn.relplot(x=[0, 1], y=[0, 1])"
    assert "image/png" in kinds(notebook.run(own)), "a figure, and not its name alone"
    before = "import matplotlib\nbefore = dict(matplotlib.rcParams)"
    notebook.run(before)
    notebook.run(ours)
    assert not notebook.run("assert dict(matplotlib.rcParams) == before, 'the settings changed'")
    assert "image/png" in kinds(notebook.run("import matplotlib.pyplot as plt\nplt.plot([0, 1])"))


def test_an_error_of_ours_is_one_line(notebook: Notebook) -> None:
    found = error(notebook.run("from transfusion_lib import data\ndata.spec_for('fundsu')"))
    assert found.startswith('SpecError: unknown data set "fundsu"; did you mean "fundus"?')
    assert "\n" not in found
    assert "Traceback" in error(notebook.run("1 / 0")), "other errors show where they happened"


def test_a_stop_keeps_the_curve_and_says_how_to_go_on(notebook: Notebook, small: RunSpec) -> None:
    spec = small.replace(train=small.train.replace(steps=400, eval_every=10))
    cell = f"from transfusion_lib import RunSpec, train\nfound = train([RunSpec.from_json({spec.to_json()!r})])"
    shown = notebook.run(cell, stop_after="<svg")
    said = error(shown)
    assert re.fullmatch(r"InterruptedRunError: stopped at step \d+ of 400; run the cell again to go on", said)
    first, last = ([one for one in shown if "data" in one][place]["data"]["text/html"] for place in (0, -1))
    assert "looking for finished runs" in first, "it says what it does before there is a curve"
    assert any("1 starting" in str(one) for one in shown)
    assert "stopped at step" in last
    assert "<svg" in last
    again = notebook.run(cell)
    assert "1 run: 1 trained now, 0 from the store" in str(again)
    assert "1 run: 0 trained now, 1 from the store" in str(notebook.run(cell))


def test_the_summary_counts_runs_and_not_lines() -> None:
    reporter = Reporter()
    for line in (
        "[1/4] a: from the store, 00aa00000000",
        "[2/4] b: another process trains it, waiting",
        "[2/4] b: made by another process, 00bb00000000 (2 of 4 done, 1 running)",
        "[3/4] c: trained in 3.1 s, 00cc00000000 (3 of 4 done, about 50 s left)",
        "[4/4] d: trained in 3.0 s, 00dd00000000",
        "[1/1] d: from the store, 00dd00000000",
    ):
        reporter.say(line)
    assert "<summary>4 runs: 2 trained now, 2 from the store" in reporter.summary()


def test_the_estimate_is_near_while_workers_start_slowly(small: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("transfusion_lib.runs.grid.time.monotonic", lambda: now)
    specs = [small.replace(seed=seed, train=small.train.replace(steps=10, eval_every=1)) for seed in range(4)]
    seen: list[tuple[float, Standing]] = []
    whole = Grid(
        [(spec, str(spec.seed)) for spec in specs],
        total=4,
        key=lambda spec: str(spec.seed),
        estimate=lambda _: None,
        say=lambda _: None,
        report=lambda _spec, _progress: None,
        watch=lambda standing: seen.append((now, standing)),
    )
    while job := whole.next():
        now += 12.0 if not whole.seen else 0.0  # the process starts, the images are made
        for step in range(11):
            whole.report(job, Progress(step=step))
            now += 1.0 if step < 10 else 0.0
        whole.made(job, Made("trained", 10.0))
    assert (seen[0][1].starting, seen[0][1].left_s) == (1, None)
    assert str(seen[0][1]) == "0 of 4 done, 1 starting (processes, images)"
    estimates = [(now - at, standing.left_s) for at, standing in seen if standing.left_s and now - at > 2]
    assert len(estimates) > 30
    assert all(0.67 < guessed / truth < 1.5 for truth, guessed in estimates)


def cells_of(chapter: str) -> tuple[list[str], dict[str, Any]]:
    """Return the code cells of a chapter and its parameters' defaults."""
    found = project.find(ROOT).chapter(chapter)
    code = [cell["source"] for cell in found.cells if cell["cell_type"] == "code"]
    return code, {one.name: one.default for one in parameters.declared(found)}


def test_a_misspelt_parameter_is_named_wherever_it_is_set() -> None:
    code, values = cells_of("tutorial")
    with pytest.raises(ParameterError, match=r'no parameter "step"; did you mean "steps"'):
        Tutorial.of({**values, "step": 12})
    with pytest.raises(ParameterError, match=r'no parameter "step"; did you mean "steps"'):
        Tutorial.of({**values, "step": 12, "In": ["", code[0], "step = 12"]})
    misspelt = code[0].replace("network =", "netwrok =")
    with pytest.raises(ParameterError, match=r'no parameter "netwrok"; did you mean "network"'):
        Tutorial.of({**values, "netwrok": "cbr_tiny", "In": ["", code[0], misspelt]})
    mended = {**values, "netwrok": "cbr_tiny", "In": ["", code[0], misspelt, code[0]]}
    assert Tutorial.of(mended).network == "cbr_tiny", "once mended, the history is forgiven"


def test_a_stale_value_of_a_renamed_parameter_is_noticed() -> None:
    code, values = cells_of("tutorial")
    renamed = code[0].replace("steps =", "length =")
    with pytest.raises(ParameterError, match=r"steps=40 is of an earlier run of the parameters cell"):
        Tutorial.of({**values, "length": 12, "In": ["", code[0], renamed]})
    assert Tutorial.of({**values, "steps": 12, "In": ["", code[0], "steps = 12"]}).steps == 12
    injected = "# Parameters\n" + "\n".join(line for line in code[0].splitlines() if not line.startswith("steps"))
    assert Tutorial.of({**values, "In": ["", code[0], injected]}).steps == 40, "papermill replaces some, not all"


@pytest.mark.parametrize("chapter", list(chapters.TABLE))
def test_no_name_of_a_chapters_own_cells_is_taken_for_a_parameter(chapter: str) -> None:
    code, values = cells_of(chapter)
    own = dict.fromkeys(re.findall(r"^(\w+) = ", "\n".join(code), re.M), 0)
    study = chapters.TABLE[chapter]
    assert cells.fault({**own, **values, "In": ["", *code, *code]}, list(study.model_fields)) == ""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"network": "cbr_tinny"}, 'unknown network "cbr_tinny"; did you mean "cbr_tiny"'),
        ({"dataset": "fundus:graed"}, 'unknown task of fundus "graed"; did you mean "grade"'),
        ({"dataset": "fundsu"}, 'unknown data set "fundsu"'),
        ({"size": 31, "network": "inception_v3"}, "at least 75 pixels, got 31"),
        ({"seeds": [0, 0]}, "seeds names 0 twice"),
        ({"seeds": "[0, 1]"}, "papermill reads it with -y 'seeds: [0, 1]', not with -p"),
    ],
)
def test_names_are_checked_when_the_study_is_made(changed: dict[str, Any], said: str) -> None:
    with pytest.raises((SpecError, ParameterError), match=re.escape(said)):
        Tutorial.of(cells_of("tutorial")[1] | changed)


def test_a_cut_point_is_checked_when_the_study_is_made() -> None:
    values = cells_of("differential")[1] | {"network": "cbr_tiny", "blocks": ["pool9"], "other_blocks": ["pool2"]}
    with pytest.raises((SpecError, ParameterError), match='"pool9"'):
        chapters.TABLE["differential"].of(values)


def test_a_study_shows_its_parameters_and_how_many_runs_they_ask_for() -> None:
    shown = Tutorial.of(cells_of("tutorial")[1])._repr_html_()
    assert "<b>Tutorial</b>, 6 runs" in shown
    assert "<tr><th>network</th><td>cbr_tiny</td></tr>" in shown


def curves(**finals: list[float]) -> pd.DataFrame:
    """Return curves of one network whose starts end at the given scores, a value per seed."""
    rows = [
        {"network": "Net", "init": init, "seed": seed, "step": step, "auroc": value if step else 0.9, "run": "0"}
        for init, values in finals.items()
        for seed, value in enumerate(values)
        for step in (0, 40)
    ]
    return pd.DataFrame(rows)


def test_the_gain_is_said_for_every_number_of_starts_and_seeds() -> None:
    said = tables.gain(curves(random=[0.80, 0.82], pretrained=[0.9, 0.9]))
    assert said.startswith("pretrained minus random after 40 steps: 0.09 (")
    assert "try seeds" in tables.gain(curves(random=[0.75], pretrained=[0.875]))
    assert "0.125" in tables.gain(curves(random=[0.75], pretrained=[0.875]))
    assert tables.gain(curves(random=[0.8], other=[0.1], last=[0.9])).startswith("last minus random")
    assert "no pretrained weights here" in tables.gain(curves(random=[0.8, 0.9]))


def test_a_figure_holds_its_threshold_where_all_curves_are_above_it() -> None:
    frame = curves(random=[0.97, 0.98])
    figure = curve_figures.convergence(frame, mean_curves(frame), threshold=0.8, titles={"Net": "Net"})
    assert figure.axes[0].get_ylim()[0] < 0.8
    assert style.svg(figure), "a warning of the layout would fail this test"
