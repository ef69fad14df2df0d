"""The demo's road with the real bases and real data, stopped on the way and finished."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tunewright.artifacts import Artifact

pytestmark = pytest.mark.slow


def test_fetching_again_fetches_nothing() -> None:
    command = [sys.executable, "-m", "tunewright", "demo", "--fetch"]
    found = subprocess.run([*command, "--json"], check=True, capture_output=True, timeout=300)
    again = subprocess.run([*command, "--json"], check=True, capture_output=True, timeout=60)
    assert json.loads(found.stdout) == json.loads(again.stdout)
    assert all(Path(path).exists() for path in json.loads(found.stdout)["fetched"])
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def test_a_stopped_demo_goes_on_and_ends_with_the_report(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "tunewright", "demo", "--quick", "--output", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    journal = folder / "tweets" / "journal.jsonl"
    deadline = time.time() + 400
    while time.time() < deadline and not (journal.exists() and journal.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=120)
    assert process.returncode == 1
    assert f"tunewright resume {folder}" in shown.replace("\n", " ").replace("  ", " ")
    assert Artifact.open(folder, "demo").status == "interrupted"
    done = subprocess.run(
        [sys.executable, "-m", "tunewright", "resume", str(folder), "--json"],
        capture_output=True,
        text=True,
        timeout=900,
        check=True,
    )
    found = json.loads(done.stdout)
    assert [e["task"] for e in found["evaluations"]] == ["classification", "instruction"]
    assert set(found["evaluations"][0]["baselines"]) == {
        "majority",
        "tfidf_logistic",
        "embedding_logistic",
        "embedding_knn",
    }
    base = found["evaluations"][1]["baselines"]["base"]["metrics"]["perplexity"]["value"]
    assert found["evaluations"][1]["metrics"]["perplexity"]["value"] < base
    page = Path(found["report"]).read_text(encoding="utf-8")
    assert "Sentiment of tweets" in page and "An assistant for the Python" in page
    stamps = {p: p.stat().st_mtime_ns for p in folder.rglob("*.safetensors")}
    subprocess.run([*command, "--json"], check=True, capture_output=True, timeout=300)
    assert stamps == {p: p.stat().st_mtime_ns for p in folder.rglob("*.safetensors")}
