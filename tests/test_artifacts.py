"""Folders that say what they are, whatever happened to the process that wrote them."""

from __future__ import annotations

import errno
import json
import multiprocessing
import shutil
from pathlib import Path

import pytest

from tunewright.artifacts import (
    Artifact,
    atomic_write,
    hash_files,
    locked,
    read_json,
    require_space,
)
from tunewright.errors import ArtifactError, SpaceError


def test_manifest_is_there_before_the_work_and_after_it(tmp_path: Path) -> None:
    artifact = Artifact.create(tmp_path / "a", "run", {"x": 1}, {"data": "00"}, seed=3)
    before = Artifact.open(tmp_path / "a", "run")
    assert (before.status, before.config, before.seed) == ("running", {"x": 1}, 3)
    assert before.machine["packages"]["torch"].startswith("2.")
    artifact.finish("done", score=0.5)
    after = Artifact.open(tmp_path / "a")
    assert (after.status, after.results) == ("done", {"score": 0.5})
    assert after.seconds is not None


def test_failure_is_recorded_and_raised(tmp_path: Path) -> None:
    artifact = Artifact.create(tmp_path, "run", {})
    with pytest.raises(ValueError, match="broken"), artifact.recording():
        raise ValueError("broken")
    found = Artifact.open(tmp_path)
    assert (found.status, found.error) == ("failed", "ValueError: broken")


def test_wrong_folder_and_damaged_manifest_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"has no manifest\.json"):
        Artifact.open(tmp_path)
    Artifact.create(tmp_path, "data", {})
    with pytest.raises(ArtifactError, match="holds a 'data' artifact"):
        Artifact.open(tmp_path, "run")
    (tmp_path / "manifest.json").write_text('{"kind": ')
    with pytest.raises(ArtifactError, match="is damaged"):
        Artifact.open(tmp_path)
    with pytest.raises(ArtifactError, match="is not there"):
        read_json(tmp_path / "none.json")


def test_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.json"
    atomic_write(path, "old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SpaceError, match="The disk is full"):
        atomic_write(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f.json"]


def test_too_little_room_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type(shutil.disk_usage(tmp_path))(10, 9, 1)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(SpaceError, match=r"needs about 2\.00 GB"):
        require_space(tmp_path / "not" / "there", 2_000_000_000, "The run")


def _try_lock(folder: str, answer: multiprocessing.Queue[str]) -> None:
    try:
        with locked(Path(folder)):
            answer.put("locked")
    except ArtifactError as error:
        answer.put(str(error))


def test_a_folder_in_use_is_refused_to_another_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answer: multiprocessing.Queue[str] = context.Queue()
    with locked(tmp_path):
        process = context.Process(target=_try_lock, args=(str(tmp_path), answer))
        process.start()
        assert "is in use by process" in answer.get(timeout=10)
        process.join()
    process = context.Process(target=_try_lock, args=(str(tmp_path), answer))
    process.start()
    assert answer.get(timeout=10) == "locked"
    process.join()


def test_a_folder_is_hashed_without_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x").write_text("1")
    Artifact.create(tmp_path, "data", {})
    assert list(hash_files(tmp_path)) == ["sub/x"]
    assert json.loads((tmp_path / "manifest.json").read_text())["kind"] == "data"
