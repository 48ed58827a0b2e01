"""Own C++: compiled once, where it can be; said in the record; and life without it."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.layers import compiled, computed, maps
from tests.networks import network
from transfusion_lib import data, kernels, places, recheck, runs
from transfusion_lib import device as devices
from transfusion_lib.kernels import native
from transfusion_lib.models import Network
from transfusion_lib.run import KIND, Run
from transfusion_lib.spec import DataSpec, ModelSpec, RunSpec
from transfusion_lib.store import Entry, Store
from transfusion_lib.train import _Run

USERS = {"depthwise": "efficientnet_lite0", "norms": "resnet18", "pooling": "cbr_tiny"}
SOURCES = list(USERS)


def fast(source: str) -> Network:
    """Return a network whose gradients a source computes."""
    made = network(USERS[source]).to(memory_format=torch.channels_last)
    kernels.with_own_gradients(made)
    kernels.pool_early(made, in_one_pass=True)
    kernels.norm_in_few_passes(made)
    return made


@compiled
@pytest.mark.parametrize("source", SOURCES)
def test_a_record_says_it_and_is_trained_again_as_it_was(
    store: Store, small: RunSpec, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One from before by PyTorch, one by own C++, both in every bit; without a compiler the latter nearly."""
    small = small.replace(model=ModelSpec(name=USERS[source]))
    plain = devices.Resources(device=torch.device("cpu"), native=False)
    (before,) = runs.ensure([small.replace(seed=8)], store=store, resources=plain)
    (after,) = runs.ensure([small], store=store)
    assert "native" not in before.record["provenance"]["machine"]
    assert after.record["provenance"]["machine"]["native"]

    def again(made: Run) -> recheck.Compared:
        found = Run(made.spec, Entry(store.root / KIND / made.key))
        return recheck.again(found, among=store, weights=store)

    for made in (before, after):
        assert (again(made).start_tolerance, again(made).scores, again(made).agrees) == (0.0, 0.0, True)
    monkeypatch.setattr(native, "library", lambda _: None)
    assert again(after).start_tolerance != 0.0
    assert again(after).scores != 0.0
    assert again(before).scores == 0.0


@compiled
def test_a_user_can_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFUSION_DEVICE", "cpu")
    assert devices.resources().runs_native
    monkeypatch.setenv("TRANSFUSION_NATIVE", "0")
    assert not devices.resources().runs_native


def available_there(tmp_path: Path, **environment: str) -> bool:
    """Return whether a new process with a cache of its own has all libraries; it trains with them or without."""
    code = (
        "from tests.test_native import *\n"
        "for source in SOURCES:\n"
        "    computed(fast(source), maps(2, 3, 32, 32))\n"
        "print(kernels.available())"
    )
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": "."}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | cache | environment, capture_output=True, text=True, check=True
    )
    assert not done.stderr
    return done.stdout == "True\n"


def kept(tmp_path: Path) -> dict[str, Path]:
    """Return the files in the cache of compiled code."""
    found = sorted((tmp_path / "cache" / "transfusion" / "compiled").glob("**/*"))
    return {path.name.partition("-")[0]: path for path in found}


@compiled
def test_it_is_compiled_once_and_again_where_a_file_is_damaged(tmp_path: Path) -> None:
    assert available_there(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in kept(tmp_path).values()}
    assert list(kept(tmp_path)) == SOURCES
    assert available_there(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in kept(tmp_path).values()} == before
    damaged, *whole = kept(tmp_path).values()
    damaged.write_bytes(b"not a library")
    assert available_there(tmp_path)
    assert damaged.stat().st_size > 1000
    assert {path: path.stat().st_mtime_ns for path in whole} == {path: before[path] for path in whole}
    assert list(kept(tmp_path).values()) == [damaged, *whole]


@pytest.mark.parametrize("compiler", ["/nowhere/c++", "false", "true"])
def test_without_a_compiler_that_works_pytorch_computes(tmp_path: Path, compiler: str) -> None:
    assert not available_there(tmp_path, CXX=compiler)
    assert not kept(tmp_path)


@compiled
@pytest.mark.parametrize("source", SOURCES)
def test_a_compiler_without_openmp_or_the_native_processor_will_do(tmp_path: Path, source: str) -> None:
    """Apple's has no OpenMP; what it makes has the same bits."""
    real = shutil.which("c++")
    poor = tmp_path / "poor"
    poor.write_text(f'#!/bin/sh\ncase "$*" in *-fopenmp*|*-march=*) exit 1;; esac\nexec {real} "$@"\n')
    poor.chmod(0o755)
    made, found, others = fast(source), [], native.library
    for compiler, name in ((str(real), "0.so"), (str(poor), "2.so")):
        path = next(native._compiled(native.FOLDER / f"{source}.cpp", [compiler], tmp_path))
        assert path.name == name
        with pytest.MonkeyPatch.context() as patch:
            library = ctypes.CDLL(str(path))
            patch.setattr(native, "library", lambda name, own=library: own if name == source else others(name))
            found.append(computed(made, maps(3, 3, 32, 32)))
    for name, value in found[0].items():
        if name.startswith("by_"):
            assert found[1][name].equal(value), name


@compiled
def test_what_it_includes_names_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a change in a header would go on with the library from before."""
    copied = tmp_path / "kernels"
    shutil.copytree(native.FOLDER, copied)
    monkeypatch.setattr(native, "FOLDER", copied)
    before = native._digest(copied / "pooling.cpp", ["c++"])
    (copied / "vectors.h").write_text("changed")
    assert native._digest(copied / "pooling.cpp", ["c++"]) != before


@compiled
def test_a_cache_that_cannot_be_written_costs_seconds_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert available_there(tmp_path)


@compiled
def test_a_user_without_a_home_compiles_for_each_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under any number."""

    def homeless(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", homeless)
    monkeypatch.chdir(tmp_path)
    assert native.library.__wrapped__("pooling") is not None
    assert not list(tmp_path.iterdir())


def test_compiled_code_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not in the store, which others may write to: a library there would be executed."""
    monkeypatch.setenv("TRANSFUSION_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert places.compiled_root() == tmp_path / "cache" / "transfusion" / "compiled"


@pytest.mark.parametrize("products", [True, False])
@pytest.mark.parametrize("own", [pytest.param(True, marks=compiled), False])
@pytest.mark.parametrize(("model", "pools"), [("resnet18", True), ("unet_resnet18", False)])
def test_training_goes_each_fast_way(
    small: RunSpec, model: str, pools: bool, own: bool, products: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ways by own C++ only where it may be used, and the pooling of a U-Net's encoder not at all."""
    gone: dict[str, dict[str, bool]] = {}
    for way in ("as_products", "with_own_gradients", "pool_early", "norm_in_few_passes", "step_in_order_of_memory"):
        monkeypatch.setattr(kernels, way, lambda *_, way=way, **how: gone.update({way: how}))
    masks = DataSpec(name="synthetic_chest", task="lungs", size=32, train=8, val=4, test=4)
    spec = small.replace(data=small.data if pools else masks, model=ModelSpec(name=model))
    resources = devices.Resources(device=torch.device("cpu"), native=own, products=products)
    _Run(spec, data.load(spec.data), source=None, resources=resources)
    wanted: dict[str, dict[str, bool]] = {"step_in_order_of_memory": {}}
    wanted |= {"as_products": {}} if products else {}
    wanted |= {"with_own_gradients": {}, "norm_in_few_passes": {}} if own else {}
    wanted |= {"pool_early": {"in_one_pass": own}} if pools else {}
    assert gone == wanted
