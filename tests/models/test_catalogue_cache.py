"""A base that is on this machine is used, whoever fetched it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from tunewright.models.catalogue import CATALOGUE, cached, fetch

ENTRY = CATALOGUE["all-minilm-l6-v2"]


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The layout of the hub's cache, with one snapshot and nothing in it."""
    monkeypatch.setenv("TUNEWRIGHT_CACHE", str(tmp_path / "ours"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    model = tmp_path / "hub" / f"models--{ENTRY.hub_id.replace('/', '--')}"
    snapshot = model / "snapshots" / "abc123"
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc123")
    return snapshot


def test_a_whole_snapshot_of_the_hub_is_used_without_a_network(
    hub_cache: Path, tiny_encoder: Path
) -> None:
    for file in tiny_encoder.iterdir():
        shutil.copy(file, hub_cache / file.name)
    assert cached(ENTRY) == hub_cache
    assert fetch(ENTRY.name) == hub_cache


def test_half_a_snapshot_does_not_count(hub_cache: Path, tiny_encoder: Path) -> None:
    shutil.copy(tiny_encoder / "config.json", hub_cache / "config.json")
    assert cached(ENTRY) is None
