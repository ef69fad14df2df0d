"""The stress bench kills runs and plants faults, and its runs end as those that were left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def stressed(*arguments: str) -> tuple[dict[str, Any], str]:
    """Figures of a quick run in a process of its own: threads of this one do not survive a fork."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "stress.py"), "--quick", "--json", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found["figures"], done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forks")
def test_killed_runs_and_runs_with_faults_end_as_those_that_were_left_alone() -> None:
    figures, said = stressed()
    assert figures["killed_runs_bit_exact"]["value"] == figures["killed_runs"]["value"] == 10, said
    assert figures["kills"]["value"] >= 10
    assert figures["faults_survived"]["value"] == figures["faults"]["value"] == 3, said
    for kind in ("full_disk", "damaged", "sigterm"):
        assert figures[f"faults_survived_{kind}"]["value"] == 1, said
