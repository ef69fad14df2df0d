"""Lines put in order by way of the disk are all there, in their places, and leave nothing."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from tunewright.data import scatter
from tunewright.data.scatter import in_order
from tunewright.errors import SpaceError


@pytest.mark.parametrize("rows", [1, 2, 7, 3000])
@pytest.mark.parametrize("piece", [50, 5_000, 64_000_000])
def test_lines_come_by_their_places(
    rows: int, piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scatter, "_PIECE", piece)
    noise = random.Random(rows)
    wanted = [f"{i} \u00fc{'x' * noise.randrange(40)}\n" for i in range(rows)]
    places = np.array(noise.sample(range(rows), rows))
    found = list(in_order((wanted[p] for p in places), places, tmp_path / "new"))
    assert found == wanted
    assert list((tmp_path / "new").iterdir()) == []


def test_too_few_lines_are_no_result(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shorter"):
        list(in_order(["a\n", "b\n"], np.arange(3), tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(SpaceError, match="Putting rows in order"):
        list(in_order(["a line\n"] * 50, np.arange(50), tmp_path))
