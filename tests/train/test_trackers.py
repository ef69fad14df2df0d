"""Trackers have every step once, whatever a run went through."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import runs
from runs import StopAfter, train
from tunewright import pipeline
from tunewright.config.recipe import Recipe
from tunewright.config.watching import Tracker
from tunewright.errors import ConfigError, Interrupted, TrainingError
from tunewright.train.journal import read_journal
from tunewright.train.trackers import _OPEN

KEY, PASSWORD = "0123456789abcdef" * 5, "correct-horse"
"""What must not be in any file that a tracker writes."""
Curves = dict[str, list[tuple[int, float]]]


def recipe(base: Path, rows: Path, output: Path, tracker: str) -> Recipe:
    values = {"max_steps": 6, "evaluation_strategy": "steps", "eval_steps": 3}
    saves = {"save_strategy": "steps", "save_steps": 3}
    return runs.recipe(base, rows, output, **values, **saves, report_to=tracker)


def of_tensorboard(folder: Path) -> Curves:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    assert (
        "lora_r: null" in read.Tensors("recipe/text_summary")[0].tensor_proto.string_val[0].decode()
    )
    return {
        name: [(event.step, event.value) for event in read.Scalars(name)]
        for name in read.Tags()["scalars"]
    }


def of_mlflow(folder: Path) -> Curves:
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("tunewright")
    (run,) = client.search_runs([experiment.experiment_id], f"run_name = '{folder.name}'")
    assert run.data.params["data.validation"] == "0.2"
    return {
        name: [
            (point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)
        ]
        for name in run.data.metrics
    }


def of_wandb(folder: Path) -> Curves:
    """The steps in the files of all processes that wrote the run, offline."""
    from wandb.proto import wandb_internal_pb2 as messages

    kept = json.loads((folder / "trackers.json").read_text())["wandb"]
    files = sorted((folder / "wandb").glob(f"offline-run-*-{kept}/run-{kept}.wandb"))
    assert len(files) == 2
    curves: Curves = {}
    config: dict[str, Any] = {}
    for file in files:
        for raw in log_records(file.read_bytes()):
            record = messages.Record.FromString(raw)
            for item in record.config.update:
                config[".".join([item.key, *item.nested_key]).strip(".")] = json.loads(
                    item.value_json
                )
            values = {
                ".".join(item.nested_key) or item.key: json.loads(item.value_json)
                for item in record.history.item
            }
            step = record.history.step.num or values.get("_step", 0)
            for name, value in values.items():
                if not name.startswith("_"):
                    curves.setdefault(name, []).append((step, value))
    assert config["data.validation"] == 0.2
    written = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert not any(word.encode() in content for content in written for word in (KEY, PASSWORD))
    return curves


def log_records(data: bytes) -> Iterator[bytes]:
    """The records of a file in LevelDB's log format, behind W&B's header of 7 bytes."""
    block, at, parts = 32768, 7, b""
    while at + 7 <= len(data):
        left = block - at % block
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield parts
            parts = b""


def of_trackio(folder: Path) -> Curves:
    from trackio.sqlite_storage import SQLiteStorage

    kept = json.loads((folder / "trackers.json").read_text())["trackio"]
    assert kept.startswith(folder.name)
    (run,) = SQLiteStorage.get_run_records("tunewright")
    assert run["name"] == kept
    curves: Curves = {}
    for row in SQLiteStorage.get_logs("tunewright", kept):
        for name, value in row.items():
            if "/" in name:
                curves.setdefault(name, []).append((row["step"], value))
    assert SQLiteStorage.get_run_config("tunewright", kept)["data.validation"] == 0.2
    return curves


READ: dict[Tracker, Callable[[Path], Curves]] = {
    Tracker.TENSORBOARD: of_tensorboard,
    Tracker.MLFLOW: of_mlflow,
    Tracker.WANDB: of_wandb,
    Tracker.TRACKIO: of_trackio,
}


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where MLflow keeps what these tests send; making it takes seconds."""
    return tmp_path_factory.mktemp("mlflow") / "mlflow.db"


@pytest.fixture
def own_places(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Places for what trackers write that are no user's, and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr("sys.argv", ["tunewright", "train", f"data.train=sql://me:{PASSWORD}@host"])
    for name in ("WANDB_PROJECT", "WANDB_NAME", "WANDB_DIR", "TRACKIO_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")


def test_every_tracker_is_read_back() -> None:
    assert set(READ) == set(Tracker) == set(_OPEN)


@pytest.mark.usefixtures("own_places")
@pytest.mark.parametrize("tracker", list(Tracker))
def test_a_run_that_was_stopped_and_resumed_is_one_run_with_every_step_once(
    tracker: Tracker, tiny_encoder: Path, sentiment_file: Path, tmp_path: Path
) -> None:
    pytest.importorskip(tracker.value)
    made = recipe(tiny_encoder, sentiment_file, tmp_path / "stopped", tracker.value)
    # The checkpoint of step 3 is resumed although steps 4 and 5 were taken and sent already.
    with pytest.raises(Interrupted):
        train(made, StopAfter(tmp_path / "stopped", 5))
    pipeline.resume(tmp_path / "stopped", checkpoint=tmp_path / "stopped" / "checkpoint-3")
    found = READ[tracker](tmp_path / "stopped")
    lines = read_journal(tmp_path / "stopped")
    steps = [(x["step"], x["loss"]) for x in lines if x["event"] == "step"]
    assert [step for step, _ in steps] == [1, 2, 3, 4, 5, 6]
    assert found["train/loss"] == [(step, pytest.approx(loss)) for step, loss in steps]
    scored = [(x["step"], x["metrics"]["macro_f1"]) for x in lines if x["event"] == "evaluation"]
    assert found["eval/macro_f1"] == [(step, pytest.approx(value)) for step, value in scored]
    assert {"train/learning_rate", "train/grad_norm", "eval/loss"} <= found.keys()


def test_a_tracker_that_is_not_installed_is_refused_with_the_command(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    made = recipe(tiny_encoder, sentiment_file, tmp_path / "run", "TensorBoard")
    with pytest.raises(ConfigError, match=r"tensorboard, which is not .* 'tunewright\[trackers\]'"):
        pipeline.prepare(made)
    assert not (tmp_path / "run").exists()


def test_names_of_trackers_are_taken_as_the_ecosystem_writes_them() -> None:
    def read(value: Any) -> list[Tracker]:
        return Recipe.check({"model": "m", "data": {"train": "x"}, "report_to": value}).report_to

    assert read("none") == read(["none"]) == []
    assert read(["mlflow", "tensorboard", "mlflow"]) == [Tracker.MLFLOW, Tracker.TENSORBOARD]
    with pytest.raises(ConfigError, match="'tensorboard', 'mlflow', 'wandb' or 'trackio'"):
        read("wandbs")


@pytest.mark.usefixtures("own_places")
def test_a_server_that_cannot_be_reached_is_told_with_what_to_do(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    made = recipe(tiny_encoder, sentiment_file, tmp_path / "run", "mlflow")

    def refuse(*_: Any, **__: Any) -> None:
        raise mlflow.exceptions.MlflowException("no route to host")

    with monkeypatch.context() as patched:
        patched.setattr("mlflow.search_experiments", refuse)
        with pytest.raises(ConfigError, match=r"no route to host\. Check MLFLOW_TRACKING_URI"):
            train(made)
    with monkeypatch.context() as patched:
        patched.setattr("mlflow.log_metrics", refuse)
        with pytest.raises(TrainingError, match="MLflow did not take step 1"):
            pipeline.resume(tmp_path / "run")
    assert pipeline.resume(tmp_path / "run").results["steps"] == 6


@pytest.mark.usefixtures("own_places")
def test_wandb_without_a_key_or_a_server_is_told_before_the_first_step(
    tiny_encoder: Path, sentiment_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    made = recipe(tiny_encoder, sentiment_file, tmp_path / "run", "wandb")
    monkeypatch.setenv("WANDB_MODE", "online")
    wandb.teardown()  # it remembers what the environment was
    with monkeypatch.context() as patched:
        patched.delenv("WANDB_API_KEY")
        patched.setenv("NETRC", str(tmp_path / "no-netrc"))
        with pytest.raises(ConfigError, match=r"W&B has no key of yours\. Run `wandb login`, set"):
            train(made)

    def refuse(*_: Any, **__: Any) -> None:
        raise wandb.errors.CommError("no route to host")

    wandb.teardown()
    monkeypatch.setattr("wandb.init", refuse)
    with pytest.raises(ConfigError, match=r"no route to host\. Check the network"):
        pipeline.resume(tmp_path / "run")
    wandb.teardown()
