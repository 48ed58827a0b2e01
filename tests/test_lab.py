"""The tutorial in JupyterLab, in headless Chromium: run, stopped, continued, changed, with a typo, with an own plot.

``TRANSFUSION_SHOTS`` names a folder for screenshots in light and dark, to be looked at.
"""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PARAMETERS, STUDY, RUNS = 1, 3, 5
SMALL = {"size": 32, "images": 32, "seeds": [0, 1], "steps": 6}


class Lab:
    """One notebook, open in JupyterLab."""

    def __init__(self, page: Page, shots: Path | None) -> None:
        self.page, self.shots = page, shots

    @property
    def count(self) -> int:
        """How many cells there are."""
        return int(self.page.evaluate("jupyterapp.shell.currentWidget.content.widgets.length"))

    def set(self, place: int, source: str) -> None:
        """Write a cell."""
        self.page.evaluate(
            "([k, text]) => jupyterapp.shell.currentWidget.content.widgets[k].model.sharedModel.setSource(text)",
            [place, source],
        )

    def source(self, place: int) -> str:
        """Return what stands in a cell."""
        return str(
            self.page.evaluate(f"jupyterapp.shell.currentWidget.content.widgets[{place}].model.sharedModel.source")
        )

    def begin(self, place: int) -> None:
        """Run a cell and do not wait."""
        self.page.evaluate(
            f"""() => {{ jupyterapp.shell.currentWidget.content.deselectAll();
                jupyterapp.shell.currentWidget.content.activeCellIndex = {place};
                jupyterapp.commands.execute('notebook:run-cell'); }}"""
        )

    def run(self, place: int) -> str:
        """Run a cell to its end and return all that it shows."""
        self.begin(place)
        self.rest()
        return self.shown(place)

    def run_all(self) -> None:
        """Run all cells to their end."""
        self.page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
        self.rest()

    def stop(self) -> None:
        """Press the stop button."""
        self.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.interrupt()")

    def rest(self) -> None:
        """Wait until the kernel has nothing to do."""
        self.page.wait_for_timeout(500)
        done = """() => jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle' &&
            !jupyterapp.shell.currentWidget.content.widgets.some(cell => cell.promptNode?.innerText === '[*]:' ||
                cell.inputArea?.promptNode.innerText.includes('*'))"""
        self.page.wait_for_function(done, timeout=240_000)

    def shown(self, place: int) -> str:
        """Return the outputs of a cell as text."""
        code = f"JSON.stringify(jupyterapp.shell.currentWidget.content.widgets[{place}].model.outputs?.toJSON() ?? [])"
        return str(self.page.evaluate(code))

    def wait_for(self, place: int, text: str) -> None:
        """Wait until a cell that is still running shows ``text``."""
        ends = time.monotonic() + 120
        while text not in self.shown(place):
            assert time.monotonic() < ends, self.shown(place)[-2000:]
            self.page.wait_for_timeout(200)

    def look(self, name: str, place: int) -> None:
        """Take a screenshot of a cell in light and in dark."""
        for theme in ("JupyterLab Dark", "JupyterLab Light"):
            self.page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", theme)
            self.page.wait_for_timeout(1500)
            self.page.evaluate(f"jupyterapp.shell.currentWidget.content.scrollToItem({place}, 'start')")
            self.page.wait_for_timeout(500)
            if self.shots:
                self.page.screenshot(path=str(self.shots / f"{name}-{theme.split()[1].lower()}.png"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The tutorial, copied into an empty folder and opened."""
    tmp_path = tmp_path_factory.mktemp("lab")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None or importlib.util.find_spec("jupyterlab") is None:
        pytest.skip("needs Chromium and JupyterLab")
    (tmp_path / "lab").mkdir()
    shutil.copy(ROOT / "notebooks" / "00-tutorial.ipynb", tmp_path / "lab")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRANSFUSION_")}
    environment |= {
        "TRANSFUSION_STORE": str(tmp_path / "store"), "TRANSFUSION_DEVICE": "cpu", "PYTHONPATH": str(ROOT),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
    }  # fmt: skip
    words = ["lab", "--no-browser", "--allow-root", "--expose-app-in-browser", f"--ServerApp.port={port}",
             "--IdentityProvider.token=", f"--ServerApp.root_dir={tmp_path / 'lab'}"]  # fmt: skip
    log = (tmp_path / "log").open("w")
    command = [sys.executable, "-m", "jupyter", *words]
    server = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    shots = os.environ.get("TRANSFUSION_SHOTS")
    try:
        wait_for_server(f"http://127.0.0.1:{port}/api")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            page.goto(f"http://127.0.0.1:{port}/lab/tree/00-tutorial.ipynb")
            ready = "() => window.jupyterapp?.shell?.currentWidget?.content?.widgets?.length > 5"
            page.wait_for_function(ready, timeout=240_000)
            one = Lab(page, Path(shots) if shots else None)
            one.rest()
            yield one
            browser.close()
    finally:
        server.terminate()
        server.wait()
        log.close()


def wait_for_server(address: str) -> None:
    """Wait until JupyterLab answers."""
    ends = time.monotonic() + 180
    while time.monotonic() < ends:
        try:
            with urllib.request.urlopen(address):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("JupyterLab does not answer")


def with_values(source: str, values: dict[str, Any]) -> str:
    """Return the parameters cell with values put in below its own."""
    return source + "".join(f"\n{name} = {value!r}" for name, value in values.items())


@pytest.fixture(scope="module")
def own(lab: Lab) -> str:
    """The parameters cell as it comes."""
    return lab.source(PARAMETERS)


def test_the_tutorial_runs_top_to_bottom(lab: Lab, own: str) -> None:
    lab.set(PARAMETERS, with_values(own, SMALL))
    lab.run_all()
    assert "4 runs: 4 trained now, 0 from the store" in lab.shown(RUNS)
    assert not [place for place in range(lab.count) if '"output_type":"error"' in lab.shown(place)]
    lab.look("tutorial", 11)


def test_stopped_it_keeps_its_curve_and_goes_on(lab: Lab, own: str) -> None:
    lab.set(PARAMETERS, with_values(own, SMALL | {"steps": 2000, "seeds": [0]}))
    lab.run(PARAMETERS)
    lab.run(STUDY)
    reached = []
    for again in range(2):
        lab.begin(RUNS)
        lab.wait_for(RUNS, "<svg")
        if not again:
            lab.look("training", RUNS)
        lab.stop()
        lab.rest()
        said = lab.shown(RUNS)
        assert "run the cell again to go on" in said
        assert "exit status" not in said
        assert "Traceback" not in said
        assert "<svg" in said, "the curve stays"
        reached.append(int(re.findall(r"stopped at step (\d+) of 2000", said)[-1]))
    lab.look("stopped", RUNS)
    assert reached[1] > reached[0], "it went on"


def test_a_changed_parameter_trains_what_is_new(lab: Lab, own: str) -> None:
    lab.set(PARAMETERS, with_values(own, SMALL | {"steps": 8}))
    lab.run_all()
    assert "4 runs: 4 trained now" in lab.shown(RUNS)


def test_a_misspelt_parameter_is_one_line(lab: Lab, own: str) -> None:
    lab.set(PARAMETERS, with_values(own, SMALL | {"step": 12}))
    lab.run(PARAMETERS)
    said = lab.run(STUDY)
    assert r"did you mean \"steps\"" in said
    assert "Traceback" not in said
    lab.look("typo", STUDY)


def test_an_own_plot_appears(lab: Lab, own: str) -> None:
    lab.set(PARAMETERS, with_values(own, SMALL))
    lab.run_all()
    last = lab.count - 1
    before = lab.source(last)
    plot = 'seaborn.relplot(runs.frame(), x="step", y="val_auroc", hue="init.method", kind="line")'
    lab.set(last, f"import seaborn\n{plot}")
    assert "image/png" in lab.run(last)
    lab.look("own-plot", last)
    lab.set(last, before)


def test_own_images_are_used_whole(lab: Lab, own: str, tmp_path: Path) -> None:
    r = np.random.default_rng(0)
    for name, base in (("benign", 90), ("malignant", 140)):
        (tmp_path / name).mkdir()
        for number in range(29):
            pixels = np.clip(r.normal(base, 60, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    lab.set(PARAMETERS, with_values(own, SMALL | {"dataset": str(tmp_path), "images": 400}))
    lab.run_all()
    assert "images=400 is more than there are, so all are used" in lab.shown(RUNS)
    assert "4 runs: 4 trained now" in lab.shown(RUNS)
    assert not [place for place in range(lab.count) if '"output_type":"error"' in lab.shown(place)]
