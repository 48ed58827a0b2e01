"""The store: whole or absent, one worker at a time, damage found."""

import json
import multiprocessing
import os
import signal
import stat
import time
from pathlib import Path

import pytest
import torch

from transfusion_lib.errors import StoreError
from transfusion_lib.store import Store

FILES = {"record.json": b'{"a": 1}', "sub.bin": b"\x00\x01"}


def test_an_entry_reads_back_what_was_written(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.find("runs", "k") is None
    assert store.keys("runs") == []
    entry = store.add("runs", "k", FILES)
    assert store.keys("runs") == ["k"]
    assert entry.json("record.json") == {"a": 1}
    assert entry.read("sub.bin") == b"\x00\x01"
    assert entry.verify() is None
    assert list((tmp_path / "fresh").iterdir()) == []


def test_the_first_of_two_writers_wins(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add("runs", "k", {"a": b"first"})
    assert store.add("runs", "k", {"a": b"second"}).read("a") == b"first"
    assert list((tmp_path / "fresh").iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b'{"a": 2}', b'{"a": 1}\n'])
def test_damage_is_found_and_set_aside(tmp_path: Path, damage: bytes) -> None:
    store = Store(tmp_path)
    entry = store.add("runs", "k", FILES)
    (entry.folder / "record.json").write_bytes(damage)
    with pytest.raises(StoreError, match="transfusion verify"):
        entry.json("record.json")
    assert [problem.key for problem in store.verify()] == ["k"]
    assert store.find("runs", "k") is None
    assert store.verify() == []
    assert len(list((tmp_path / "damaged").iterdir())) == 1


def test_a_missing_file_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    entry = store.add("runs", "k", FILES)
    (entry.folder / "sub.bin").unlink()
    assert "sub.bin" in str(entry.verify())


def test_a_folder_without_a_manifest_is_no_entry(tmp_path: Path) -> None:
    (tmp_path / "runs" / "k").mkdir(parents=True)
    (tmp_path / "runs" / "k" / "record.json").write_bytes(b"{}")
    assert Store(tmp_path).find("runs", "k") is None


def test_checkpoint_round_trip_and_replacement(tmp_path: Path) -> None:
    with Store(tmp_path).claim("k") as claim:
        assert claim.read() is None
        for number in range(3):
            claim.write({"x": torch.full((3,), float(number))}, {"step": str(number)})
        saved = claim.read()
        assert saved is not None
        tensors, notes = saved
        assert tensors["x"].tolist() == [2.0] * 3
        assert notes == {"step": "2"}
        assert len(list(claim.folder.glob("checkpoint-*"))) == 1


@pytest.mark.parametrize("fault", ["truncated", "flipped", "gone", "pointer", "garbage"])
def test_a_damaged_checkpoint_counts_as_none(tmp_path: Path, fault: str) -> None:
    with Store(tmp_path).claim("k") as claim:
        claim.write({"x": torch.arange(100.0)}, {"step": "7"})
        (path,) = claim.folder.glob("checkpoint-*.safetensors")
        content = path.read_bytes()
        if fault == "truncated":
            path.write_bytes(content[:-40])
        elif fault == "flipped":
            path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
        elif fault == "gone":
            path.unlink()
        elif fault == "pointer":
            (claim.folder / "checkpoint.json").write_bytes(b"{")
        else:
            (claim.folder / "checkpoint.json").write_text(json.dumps({"file": "../../x", "sha256": 3}))
        assert claim.read() is None


def _hold(root: str, key: str, held: str) -> None:
    with Store(Path(root)).claim(key):
        Path(held).touch()
        time.sleep(60)


def test_a_claim_excludes_and_dies_with_its_holder(tmp_path: Path) -> None:
    """A claim held by another process is waited for, and is free the moment that process is killed with -9."""
    store, held = Store(tmp_path), tmp_path / "held"
    holder = multiprocessing.get_context("spawn").Process(target=_hold, args=(str(tmp_path), "k", str(held)))
    holder.start()
    while not held.exists():
        time.sleep(0.01)
    assert store.working() == ["k"]
    assert holder.pid is not None

    def kill() -> None:
        os.kill(holder.pid or 0, signal.SIGKILL)

    with store.claim("k", waiting=kill):
        holder.join()
        assert holder.exitcode == -signal.SIGKILL
    assert store.working() == []


def test_a_claim_is_free_after_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError, match="boom"), store.claim("k"):
        raise RuntimeError("boom")
    assert store.working() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_store_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(StoreError, match="TRANSFUSION_STORE"):
            Store(tmp_path).add("runs", "k", FILES)
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        store.add("runs", "k", FILES)
    assert store.find("runs", "k") is None
    assert list((tmp_path / "fresh").iterdir()) == []
