"""A judging model behind a small local server: both orders, its biases, its failures."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from asked import name_answers
from tunewright._api.evaluate import EvaluationConfig, ModelEvaluator, compare_models
from tunewright.cli.app import run
from tunewright.errors import ConfigError, DataError, WorkError
from tunewright.evaluate import endpoint, people
from tunewright.evaluate.endpoint import Endpoint
from tunewright.evaluate.judge import ask_judge, choice
from tunewright.evaluate.people import Answered

ROWS = [Answered(i, f"prompt {i}", f"model says {i}", f"other says {i}") for i in range(1, 13)]
Judge = Callable[[dict[str, Any]], tuple[Any, ...]]


class Server:
    """Chat completions on a free port; `judge` makes status and body of what was posted."""

    def __init__(self, judge: Judge) -> None:
        self.posts: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.posts.append(body | {"path": self.path})
                outer.headers.append(dict(self.headers))
                status, said, *headers = judge(body)
                if isinstance(said, str):
                    said = {"choices": [{"message": {"role": "assistant", "content": said}}]}
                data = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *words: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Judge], Server]]:
    servers: list[Server] = []

    def start(judge: Judge) -> Server:
        servers.append(Server(judge))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def shown_first(body: dict[str, Any]) -> str:
    asked = body["messages"][-1]["content"]
    return "model" if asked.index("model says") < asked.index("other says") else "other"


def likes_the_model(body: dict[str, Any]) -> tuple[int, Any]:
    return 200, "Both are short.\n1" if shown_first(body) == "model" else "Answer 2 is it.\n2"


def test_a_judge_without_a_bias_is_counted_as_a_person_is(
    tmp_path: Path, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret of a test")
    server = serve(likes_the_model)
    found = ask_judge(Endpoint(server.url, "big"), ROWS, tmp_path)
    assert len(server.posts) == 24
    assert server.posts[0]["path"] == "/v1/chat/completions"
    assert (server.posts[0]["model"], server.posts[0]["temperature"]) == ("big", 0)
    assert server.headers[0]["Authorization"] == "Bearer secret of a test"
    assert (found["wins"], found["losses"], found["win_rate"]["value"]) == (12, 0, 1.0)
    assert "the judge finds it better" in found["verdict"]
    judge = found["judge"]
    assert judge["orders_agree"]["value"] == 1.0 and judge["orders_agree"]["low"] < 0.8
    assert (judge["first_preferred"], judge["unclear"]) == (0.5, 0)
    pairs = [json.loads(x) for x in (tmp_path / "preferences.jsonl").read_text().splitlines()]
    assert pairs[0] == {
        "prompt": "prompt 1", "chosen": "model says 1", "rejected": "other says 1", "votes": 1,
    }  # fmt: skip
    assert len(pairs) == 12
    assert json.loads((tmp_path / "judge.json").read_text()) == found
    assert "secret" not in (tmp_path / "judge.json").read_text()


def test_a_judge_that_takes_what_comes_first_decides_nothing(tmp_path: Path, serve: Any) -> None:
    server = serve(lambda body: (200, "1"))
    found = ask_judge(Endpoint(server.url + "/chat/completions", "big"), ROWS, tmp_path)
    assert found["votes"] == {"tie": 12} and found["preferences"] == 0
    assert found["judge"]["orders_agree"]["value"] == 0.0
    assert found["judge"]["first_preferred"] == 1.0
    assert "The two orders agree on 0 % of the prompts" in found["judge"]["verdict"]
    assert "shown first is preferred in 100 %" in found["judge"]["verdict"]
    assert "no detectable difference" in found["verdict"]


def test_a_judge_that_fails_loses_nothing_and_the_same_call_goes_on(
    tmp_path: Path, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    calls = iter(range(100))

    def breaks(body: dict[str, Any]) -> tuple[int, Any]:
        return (400, b"too long") if next(calls) == 7 else likes_the_model(body)

    server = serve(breaks)
    judge = Endpoint(server.url, "big")
    with pytest.raises(WorkError, match=r"refuses with 400 .*: too long What was judged is kept"):
        ask_judge(judge, ROWS, tmp_path)
    assert "Authorization" not in server.headers[0]
    assert len((tmp_path / "votes" / "judge.jsonl").read_text().splitlines()) == 3
    found = ask_judge(judge, ROWS, tmp_path)
    assert len(server.posts) == 8 + 2 * 9 and found["prompts"] == 12
    with pytest.raises(ConfigError, match="of the judge big, not of small"):
        ask_judge(Endpoint(server.url, "small"), ROWS, tmp_path)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ((401, b"who are you"), WorkError, "401 .*Is OPENAI_API_KEY set"),
        ((307, b"", ("Location", "http://127.0.0.1:1/v1")), WorkError, "which is not followed"),
        ((200, b"<html>"), WorkError, "does not speak chat completions"),
        ((200, {"choices": []}), WorkError, "does not speak chat completions"),
        ((200, "I cannot say."), DataError, "10 of 10 replies of the judge have no line"),
    ],
)
def test_replies_that_are_no_judgement_are_errors(
    answer: tuple[int, Any], error: type[Exception], said: str, tmp_path: Path, serve: Any
) -> None:
    with pytest.raises(error, match=said):
        ask_judge(Endpoint(serve(lambda body: answer).url, "big"), ROWS, tmp_path)


def test_addresses_and_names_that_cannot_be_are_refused(serve: Any, tmp_path: Path) -> None:
    for url, model, said in (
        ("file:///etc/passwd", "m", "not the address of an endpoint"),
        ("here", "m", "not the address of an endpoint"),
        ("http://h/v1", " ", "--judge needs --judge-model"),
    ):
        with pytest.raises(ConfigError, match=said):
            Endpoint(url, model)
    for url in ("http://anna:secret@h/v1", "http://h/v1?key=secret"):
        with pytest.raises(ConfigError, match="Give the plain address") as told:
            Endpoint(url, "m")
        assert "secret" not in str(told.value)
    with pytest.raises(ConfigError, match="--judge-timeout is 0"):
        Endpoint("http://h/v1", "m", seconds=0)
    server = serve(likes_the_model)
    server.close()
    with pytest.raises(WorkError, match=r"does not answer: .*asked 1 times"):
        ask_judge(Endpoint(server.url, "m", tries=1), ROWS, tmp_path)
    with pytest.raises(DataError, match="answer every prompt alike"):
        ask_judge(Endpoint(server.url, "m"), [Answered(1, "p", "same", "same ")], tmp_path)


def test_a_busy_judge_is_asked_again_and_left_alone_as_long_as_it_wants(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(endpoint.time, "sleep", waits.append)
    answers = iter(
        [(429, b"", ("Retry-After", "7")), (503, b""), (429, b"", ("Retry-After", "900"))]
    )

    def busy(body: dict[str, Any]) -> tuple[Any, ...]:
        return next(answers, (200, "1"))

    server = serve(busy)
    assert Endpoint(server.url, "big").reply("system", "asked") == "1"
    assert waits == [7.0, 2.0, 30.0] and len(server.posts) == 4
    gone = serve(lambda body: (503, b"gone"))
    with pytest.raises(WorkError, match=r"refuses with 503 .*: gone It was asked 3 times"):
        Endpoint(gone.url, "big", tries=3).reply("system", "asked")
    assert len(gone.posts) == 3


def test_a_judge_that_takes_too_long_is_given_up(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint.time, "sleep", lambda _: None)
    waits = threading.Event()

    def slow(body: dict[str, Any]) -> tuple[Any, ...]:
        waits.wait(5)
        return 200, "1"

    server = serve(slow)
    with pytest.raises(WorkError, match=r"asked 2 times, up to 0.2 s each"):
        Endpoint(server.url, "big", seconds=0.2, tries=2).reply("system", "asked")
    waits.set()


def test_a_key_that_the_judge_repeats_is_not_told(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server = serve(lambda body: (401, b"no such key: sk-secret"))
    with pytest.raises(WorkError, match=r"no such key: \(the key\)") as told:
        Endpoint(server.url, "big").reply("system", "asked")
    assert "sk-secret" not in str(told.value)
    assert server.headers[0]["Authorization"] == "Bearer sk-secret"


def test_python_asks_the_judge_as_the_command_does(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path, serve: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    names = iter(["model", "other"] * 4)

    def generated(model: Any, tokenizer: Any, prompts: list[Any], *_: Any, **__: Any) -> list[str]:
        name = next(names)
        return [f"{name} says {i}" for i in range(len(prompts))]

    monkeypatch.setattr(people, "generate", generated)
    other, url = tmp_path / "other", serve(likes_the_model).url
    shutil.copytree(tiny_decoder, other)
    config = EvaluationConfig(
        str(tiny_decoder), str(instruction_file), metrics=["perplexity"], num_samples=6,
        against=str(other), judge=url, judge_model="big", output_dir=str(tmp_path / "out"),
    )  # fmt: skip
    found = ModelEvaluator(config).evaluate()
    assert found["judge"]["votes"] == {"model": 6}
    assert found["judge"]["judge"]["orders_agree"]["value"] == 1.0
    assert (tmp_path / "out" / "judge" / "preferences.jsonl").is_file()
    several = compare_models(
        [str(other), str(tiny_decoder)], str(instruction_file), ["perplexity"],
        str(tmp_path / "several"), judge=url, judge_model="big", num_samples=4,
    )  # fmt: skip
    assert "judge" not in several[0] and several[1]["judge"]["votes"] == {"model": 4}
    with pytest.raises(ConfigError, match="judge_model names a model of an endpoint"):
        EvaluationConfig("m", judge_model="big")
    with pytest.raises(ConfigError, match="--judge needs --judge-model"):
        EvaluationConfig("m", judge=url)


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("1", 1), ("The second.\n**2**", 2), ("Answer 1 has 3.1 faults\n0", 0), ("2.", 2),
        ("10 of 12", None), ("", None), ("<think>1?</think>2", 2), ("1.5", None),
    ],
)  # fmt: skip
def test_the_last_choice_that_stands_alone_counts(reply: str, found: int | None) -> None:
    assert choice(reply) == found


def test_the_command_judges_and_refuses_what_does_not_belong(
    tiny_decoder: Path, instruction_file: Path, tmp_path: Path, serve: Any,
    monkeypatch: pytest.MonkeyPatch, capsys: Any,
) -> None:  # fmt: skip
    name_answers(monkeypatch, "model", "other")
    other = tmp_path / "other"
    shutil.copytree(tiny_decoder, other)
    words = ["evaluate", str(tiny_decoder), "--against", str(other), "--num-samples", "8"]
    words += ["--data", str(instruction_file), "--output", str(tmp_path / "j"), "--device", "cpu"]
    judge = ["--judge", serve(likes_the_model).url]
    assert run([*words, *judge, "--judge-model", "big"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "The two orders agree on 100 % of the prompts" in said
    assert "8 preference pairs are in" in said
    assert run([*words, *judge, "--judge-model", "big", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["judge"]["model"] == "big"
    for more, why in (
        (judge, "--judge needs --judge-model"),
        (["--judge-model", "big"], "--judge-model is about the endpoint of a judge"),
        (["--judge-timeout", "3"], "--judge-timeout is about the endpoint of a judge"),
        ([*judge, "--judge-model", "big", "--human"], "take one of them"),
        ([*judge, "--judge-model", "big", "--robustness"], "--robustness has no meaning"),
        ([*judge, "--judge-model", "big", "--rater", "me"], "--rater has no meaning"),
    ):
        assert run([*words, *more]) == 2
        assert why in " ".join(capsys.readouterr().err.split())
