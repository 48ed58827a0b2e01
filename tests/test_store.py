"""The store: whole or absent, one worker at a time, damage found."""

import errno
import json
import multiprocessing
import os
import signal
import stat
import threading
import time
from pathlib import Path

import pytest
import torch

from transfusion_lib import paths
from transfusion_lib.errors import ClaimedError, StoreError
from transfusion_lib.runs import heartbeat
from transfusion_lib.runs.store import Store

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


# Hosts that do not see each other's locks


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beat and lose patience in tenths of a second."""
    monkeypatch.setattr(heartbeat, "BEAT_S", 0.05)
    monkeypatch.setattr(heartbeat, "STALE_S", 0.4)


def foreign(root: Path, beat: int = 0, time: str = "2001-01-01T00:00:00") -> Path:
    """Write the file of a holder on another host, as it stands at one of its beats."""
    path = root / "work" / "k" / heartbeat.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"host": "other", "pid": 1, "token": "t", "beat": beat, "time": time}))
    return path


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("age", [-1e9, 0.0, 1e9])
def test_a_dead_hosts_claim_falls_to_who_has_watched_it(tmp_path: Path, age: float) -> None:
    """Whatever the file's times say: clocks jump."""
    path = foreign(tmp_path)
    os.utime(path, (time.time() - age,) * 2)
    store, began = Store(tmp_path), time.monotonic()
    with pytest.raises(ClaimedError), store.claim("k", wait=False):
        pass
    with store.claim("k"):
        assert time.monotonic() - began >= 0.4
        assert json.loads(path.read_text())["host"] == heartbeat.host()
    assert not path.exists()


@pytest.mark.usefixtures("impatient")
def test_a_living_hosts_claim_is_waited_for(tmp_path: Path) -> None:
    """Another host that beats is left alone for as long as it does."""
    path, end = foreign(tmp_path), time.monotonic() + 1.2

    def beat() -> None:
        number = 0
        while time.monotonic() < end:
            number += 1
            path.with_name("new").write_text(foreign(tmp_path.with_name("else"), number).read_text())
            path.with_name("new").replace(path)
            time.sleep(0.05)
        path.unlink()

    beating = threading.Thread(target=beat)
    beating.start()
    with Store(tmp_path).claim("k"):
        assert time.monotonic() >= end
    beating.join()


@pytest.mark.usefixtures("impatient")
def test_a_holder_keeps_its_file_changing_and_sees_it_taken(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.claim("k") as claim:
        path = claim.folder / heartbeat.FILE
        before = path.read_bytes()
        time.sleep(0.3)
        assert path.read_bytes() != before
        taken = foreign(tmp_path).read_bytes()
        time.sleep(0.2)
    assert path.read_bytes() == taken, "what another host has taken over is its own"


def test_of_two_hosts_that_find_a_dead_claim_one_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = foreign(tmp_path).read_bytes()
    quicker = json.dumps({"host": "third", "token": "u"}).encode()
    path = tmp_path / "work" / "k" / heartbeat.FILE
    read = heartbeat._read

    def late(asked: Path) -> bytes | None:
        content = read(asked)
        if content == stale:
            path.write_bytes(quicker)  # right after the look at the stale one
        return content

    monkeypatch.setattr(heartbeat, "_read", late)
    with heartbeat.held(path.parent) as got:
        assert not got
    assert path.read_bytes() == quicker
    assert [other.name for other in path.parent.iterdir()] == [heartbeat.FILE]


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path).claim("k") as claim:
        claim.write({"x": torch.ones(3)}, {"step": "1"})

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left"):
            claim.write({"x": torch.zeros(3)}, {"step": "2"})
        saved = claim.read()
        assert saved is not None
        assert saved[1] == {"step": "1"}
        assert len(list(claim.folder.glob("checkpoint-*"))) == 1


def test_a_store_on_a_read_only_disk_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.add("runs", "k", FILES)

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", read_only)
    entry = store.find("runs", "k")
    assert entry is not None
    assert entry.verify() is None
    with pytest.raises(StoreError, match=r"Read-only file system.*TRANSFUSION_STORE"), store.claim("other"):
        pass
    with pytest.raises(StoreError, match="Read-only file system"):
        store.add("runs", "other", FILES)


def test_verify_sweeps_up_after_killed_writers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name, age in (("old", 2 * 86_400), ("new", 60)):
        (tmp_path / "fresh" / name).mkdir(parents=True)
        os.utime(tmp_path / "fresh" / name, (time.time() - age,) * 2)
    store.verify()
    assert [path.name for path in (tmp_path / "fresh").iterdir()] == ["new"]


def test_what_cannot_be_read_just_now_is_not_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network's disk out of breath, or no free file descriptor: the entry may be whole."""
    store = Store(tmp_path)
    store.add("runs", "k", FILES)
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path.name == "sub.bin":
            raise OSError(errno.ESTALE, "Stale file handle")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(StoreError, match=r"Stale file handle.; nothing was moved: try again"):
        store.verify()
    monkeypatch.undo()
    assert store.verify() == []
    assert store.keys("runs") == ["k"]


def test_two_processes_may_set_the_same_entry_aside(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add("runs", "k", FILES)
    store.set_aside("runs", "k")
    store.set_aside("runs", "k")
    assert store.find("runs", "k") is None


@pytest.mark.usefixtures("impatient")
def test_a_holder_outlives_a_read_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path).claim("k") as claim:
        path = claim.folder / heartbeat.FILE
        monkeypatch.setattr(heartbeat, "_read", lambda _path: None)
        time.sleep(0.2)
        monkeypatch.undo()
        monkeypatch.setattr(heartbeat, "BEAT_S", 0.05)
        before = path.read_bytes()
        time.sleep(0.3)
        assert path.read_bytes() != before, "it beats on"


def test_two_holders_checkpoints_do_not_end_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that one removes may be gone already."""
    with Store(tmp_path).claim("k") as claim:
        claim.write({"a": torch.zeros(2)}, {"n": "1"})
        unlink = Path.unlink

        def gone(path: Path, missing_ok: bool = False) -> None:
            unlink(path)
            unlink(path, missing_ok=missing_ok)

        monkeypatch.setattr(Path, "unlink", gone)
        claim.write({"a": torch.ones(2)}, {"n": "2"})
        monkeypatch.undo()
        found = claim.read()
        assert found is not None
        assert found[1] == {"n": "2"}


def test_a_variable_set_to_nothing_is_not_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The store is never the working directory by accident."""
    monkeypatch.chdir(tmp_path)
    for name in ("", " "):
        monkeypatch.setenv("TRANSFUSION_STORE", name)
        assert paths.store_root() == Path(paths.__file__).resolve().parent.parent / ".store"
