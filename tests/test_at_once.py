"""Sixteen commands at once on one clone and one store: each ends with its result, or one line says why not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import newcomer
from transfusion_lib import runs
from transfusion_lib.runs.store import Store
from transfusion_lib.spec import RunSpec

ROOT = Path(__file__).resolve().parents[1]
TINY = "-p seeds=[0,1] -p steps=4 -p eval_every=2 -p train_images=24 -p val_images=8 -p test_images=12 -p size=32"
CONVERGENCE = f"{TINY} -p networks=['cbr_tiny'] -p inits=['random','mean_var']"
CLEAN = "sleep 30; make clean"
"""Builds are on their way by then."""
COMMANDS = (
    f"chapter convergence {CONVERGENCE}",
    f"chapter convergence {CONVERGENCE}",
    f"chapter performance {TINY} -p networks=['cbr_tiny'] -p small_networks=[] -p small_train=[] -p small_steps=4",
    "chapter tasks -p datasets=['synthetic_chest'] -p pictures=8",
    "book --only performance",
    "book --only segmentation",
    f"train convergence {CONVERGENCE}",
    f"train convergence {CONVERGENCE} --engine processes --workers 2",
    "run SPEC",
    "run SPEC",
    f"todo convergence {CONVERGENCE}",
    "status",
    "verify",
    "verify --records",
    "data check IMAGES",
    CLEAN,
)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_sixteen_commands_at_once(small: RunSpec, tmp_path: Path) -> None:
    clone, store, images = tmp_path / "clone", tmp_path / "store", tmp_path / "images"
    newcomer.draw(images)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    places = {"TRANSFUSION_STORE": str(store), "PYTHONPATH": str(clone), "OMP_NUM_THREADS": "1"}
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "TRANSFUSION"))}
    given = {"SPEC": small.to_json(), "IMAGES": str(images)}
    started = []
    for line in COMMANDS:
        words = [given.get(word, word) for word in line.split()]
        command = ["sh", "-c", CLEAN] if line == CLEAN else [sys.executable, "-m", "transfusion_lib", *words]
        started.append(
            subprocess.Popen(
                command, cwd=clone, env=quiet | places, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
    ended = [(line, *one.communicate(), one.returncode) for line, one in zip(COMMANDS, started, strict=True)]
    for line, said, _, status in ended:
        if line == CLEAN:
            assert status == 0 or "Directory not empty" in said, said  # a build wrote there in the same moment
            continue
        assert "Traceback" not in said, f"{line}\n{said[-3000:]}"
        faults = [one for one in said.splitlines() if one.startswith("error: ")]
        assert len(faults) == (status != 0), f"{line} ended with {status}\n{said[-3000:]}"
        removed = line.startswith(("chapter", "book", "status"))  # `make clean` may take build/ from under them
        assert status == 0 or (removed and "meanwhile" in faults[0]), f"{line} ended with {status}\n{said[-3000:]}"
    kept = Store(store)
    assert kept.verify() == []
    assert runs.key(small) in kept.keys("runs")
    work = store / "work"
    assert not work.exists() or not [one for one in work.iterdir() if (one / "holder.json").is_file()]
    shutil.rmtree(clone)
