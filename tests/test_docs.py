"""The documents are true: commands and examples run, recipes load, tables match the code.

Each page is worked through from top to bottom in a folder of its own, as a reader would. Its
models are the catalogue's names with tiny random weights behind them; its data files are made
below, and a page may show only their first rows. In a `console` block every line that begins with
`$` is run; a line may end in `# exits 2`. Notes for this test stand in comments before a block:

    <!-- file: tweets.yaml -->       the block is a file of that name
    <!-- first rows: mood.jsonl -->  the block is the beginning of a file made below
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from chat_templates import SMOLLM2
from tunewright import fine_tuning
from tunewright.cli.app import app, run
from tunewright.config.answer_spans import AnswerKeys
from tunewright.config.base import Strict
from tunewright.config.data_keys import AugmentConfig, DataConfig, WeightedSource
from tunewright.config.finding_ids import ERRORS
from tunewright.config.generation import GenerationKeys
from tunewright.config.learning_pairs import PairKeys
from tunewright.config.load import load_recipe, merge, parse_yaml
from tunewright.config.optimization import Optimization
from tunewright.config.quantization_aware import QuantizationAwareKeys
from tunewright.config.recipe import Recipe
from tunewright.config.regularization import Regularization
from tunewright.config.task import Task
from tunewright.config.trained_weights import TrainedWeights
from tunewright.config.watching import WatchingKeys
from tunewright.data import catalogue as data_catalogue
from tunewright.data.audit import audit
from tunewright.data.checks import ENOUGH_ROWS
from tunewright.data.finding import Finding
from tunewright.data.records import Dataset, Record
from tunewright.evaluate.run import Evaluation
from tunewright.metrics.registry import _ALIASES, _METRICS, METRIC_NAMES, metrics_for
from tunewright.models import catalogue as model_catalogue
from tunewright.models.inspect import ModelFacts
from tunewright.plan.machine import Machine
from tunewright.plan.settings import choose_settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
NAMES = [page.name for page in PAGES]
SOURCE = ROOT / "src" / "tunewright"

_FENCE = re.compile(
    r"(?:^<!-- (?P<note>file|first rows): (?P<name>\S+) -->\n+)?"
    r"^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_EXITS = re.compile(r"\s+# exits (\d)$")
_MINIMAL = {"model": "all-minilm-l6-v2", "data": {"train": "tweets.jsonl"}}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text, and the note before it."""

    language: str
    text: str
    note: str = ""
    name: str = ""


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [
        Block(m["language"], m["text"], m["note"] or "", m["name"] or "")
        for m in _FENCE.finditer(page.read_text(encoding="utf-8"))
    ]


def commands(block: Block) -> Iterator[tuple[list[str], int]]:
    """Words and exit code of each command in a console block."""
    joined = block.text.replace("\\\n", " ")
    for line in joined.splitlines():
        if line.startswith("$ "):
            exits = _EXITS.search(line)
            yield shlex.split(line[2:], comments=True), int(exits[1]) if exits else 0


def is_demo(words: list[str]) -> bool:
    """The demo needs real models and minutes: only its call is checked, and `--quick` if slow."""
    return any("demo" in word for word in words)


# What pages work on


def _sentence(i: int) -> str:
    nouns = ("film", "book", "concert", "meal", "train", "hotel", "game", "museum")
    words = (("awful", "poor", "terrible", "sad"), ("good", "great", "lovely", "fine"))
    ends = ("again", "with friends", "on monday", "in the rain", "at last", "twice", "this year")
    return f"the {nouns[i % 8]} was {words[i % 2][i // 2 % 4]} {ends[i % 7]} in part {i}"


def _labelled(text: str, label: str, n: int) -> list[dict[str, Any]]:
    return [{text: _sentence(i), label: ("negative", "positive")[i % 2]} for i in range(n)]


def _asked(question: str, answer: str, n: int = 40) -> list[dict[str, Any]]:
    return [{question: f"What is {i} plus {i}?", answer: f"It is {2 * i}."} for i in range(n)]


def _tagged(i: int) -> dict[str, Any]:
    names = ("Ann Lee", "Eva Roth", "Max Holm", "Ida Berg", "Tom Weiss", "Zoe Lang", "Jan Kern")
    first, last = names[i % 7].split()
    other, town = ("Bob", "Kim", "Lou", "Pia", "Ray")[i % 5], ("Bonn", "Ulm", "Graz")[i % 3]
    tokens = [first, last, ("met", "saw", "asked", "called")[i % 4], other, "in", town, str(i)]
    tags = ["B-PER", "I-PER", "O", "B-PER", "O", "B-LOC", "O"]
    return {"tokens": tokens, "tags": tags}


def _help(i: int) -> dict[str, Any]:
    things = (
        "card",
        "cable",
        "lamp",
        "watch",
        "printer",
        "chair",
        "kettle",
        "tent",
        "drum",
        "boat",
    )
    doings = ("pay for", "send back", "repair", "clean", "insure", "sell", "lend", "store")
    thing, doing = things[i % 10], doings[i // 10]
    asked = f"how can i {doing} the {thing}"
    return {"anchor": asked, "positive": f"to {doing} your {thing}, ask at desk {i}"}


def _opening(i: int) -> dict[str, Any]:
    places = ("museum", "library", "bakery", "pool", "market", "castle", "theatre", "zoo")
    hours = ("nine", "ten", "eleven", "noon", "eight")
    place, hour = places[i % 8], hours[i % 5]
    text = f"the {place} in street {i} opens at {hour} and has a garden with a cafe"
    question = f"when does the {place} open"
    if i % 9 == 8:
        return {"question": f"who owns the {place}", "context": text, "answers": _placed()}
    return {"question": question, "context": text, "answers": _placed(hour, text.index(hour))}


def _placed(text: str = "", start: int = 0) -> dict[str, list[Any]]:
    return {"text": [text] if text else [], "answer_start": [start] if text else []}


FILES: dict[str, list[dict[str, Any]]] = {
    "opening.jsonl": [_opening(i) for i in range(90)],
    "help.jsonl": [_help(i) for i in range(80)],
    "alike.jsonl": [
        {"sentence1": _sentence(i), "sentence2": _sentence(7 * i), "score": i % 11 / 2}
        for i in range(60)
    ],
    "tweets.jsonl": _labelled("text", "label", 240),
    "posts.jsonl": _labelled("tweet", "mood", 120),
    "questions.jsonl": _asked("prompt", "completion"),
    "mood.jsonl": _labelled("text", "label", 60),
    "people.jsonl": [_tagged(i) for i in range(120)],
    "instructions.jsonl": _asked("instruction", "response"),
    "completions.jsonl": _asked("prompt", "completion"),
    "articles.jsonl": _asked("article", "summary"),
    "apples.jsonl": [
        {"translation": {"en": f"I have {many} {noun}.", "fr": f"J'ai {combien} {nom}."}}
        for many, noun, combien, nom in (
            ("one", "apple", "une", "pomme"),
            ("two", "apples", "deux", "pommes"),
            ("three", "pears", "trois", "poires"),
            ("four", "chairs", "quatre", "chaises"),
        )
    ],
    "chats.jsonl": [
        {
            "messages": [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["completion"]},
            ]
        }
        for row in _asked("prompt", "completion")
    ],
}


def as_lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture
def reader(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_encoder: Path,
    tiny_decoder: Path,
    tiny_t5: Path,
) -> Path:
    """The folder a reader works in, beside a cache that has the catalogue's names."""
    cache = tmp_path / "cache"
    for name, folder in (
        ("all-minilm-l6-v2", tiny_encoder),
        ("smollm2-135m-instruct", tiny_decoder),
    ):
        shutil.copytree(folder, cache / "models" / name)
        (cache / "models" / name / "origin.json").write_text("{}", encoding="utf-8")
    template = cache / "models" / "smollm2-135m-instruct" / "chat_template.jinja"
    template.write_text(SMOLLM2, encoding="utf-8")
    (cache / "data").mkdir()
    for name in data_catalogue.CATALOGUE:
        path = cache / "data" / f"{name}-{data_catalogue._FORMAT}.jsonl"
        path.write_text(as_lines(FILES["tweets.jsonl"]), encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    for name, rows in FILES.items():
        (work / name).write_text(as_lines(rows), encoding="utf-8")
    shutil.copytree(tiny_t5, work / "google-t5" / "t5-small")
    monkeypatch.setenv("TUNEWRIGHT_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(work)
    return work


def work_through(page: Path, quick_demo: bool = False) -> int:
    """Do what a page says, in order; return how many commands and examples were run."""
    done = 0
    namespace: dict[str, Any] = {"__name__": "docs"}
    for block in blocks(page):
        if block.note == "file":
            target = Path(block.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        elif block.language == "python" and not quick_demo:
            exec(compile(block.text, f"{page.name} (example)", "exec"), namespace)
            done += 1
        elif block.language == "console":
            for words, code in commands(block):
                done += _run_command(page, words, code, quick_demo)
    return done


def _run_command(page: Path, words: list[str], code: int, quick_demo: bool) -> bool:
    if words[0] == "tunewright" and is_demo(words):
        verb = typer.main.get_command(app).commands[words[1]]  # type: ignore[attr-defined]
        verb.make_context(words[1], words[2:])  # refuses a wrong option
        if not (quick_demo and any("quick" in word for word in words)):
            return False
    elif quick_demo:
        return False
    if words[0] == "tunewright":
        assert run(words[1:]) == code, f"{page.name}: {shlex.join(words)}"
        return True
    script = ROOT / words[0]
    known = words == [".", ".venv/bin/activate"] or words[:2] == ["git", "clone"]
    assert known or (script.is_file() and script.stat().st_mode & 0o111), (
        f"{page.name}: {shlex.join(words)} is neither tunewright nor a script of ours"
    )
    return False


# The tokenizer of the tiny encoder has whole words only, which transformers' pipeline remarks.
@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("name", NAMES)
def test_what_a_page_says_can_be_done(name: str, reader: Path) -> None:
    page = PAGES[NAMES.index(name)]
    written = any(b.language in ("console", "python") for b in blocks(page))
    done = work_through(page)
    assert done or not written or "demo" in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_quick_demo_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert work_through(DOCS / "demo.md", quick_demo=True) >= 1
    assert (tmp_path / "runs" / "quick-demo" / "report.html").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_a_page_shows_are_those_it_works_on(name: str) -> None:
    for block in blocks(PAGES[NAMES.index(name)]):
        if block.note == "first rows":
            assert as_lines(FILES[block.name]).startswith(block.text), block.name


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_and_json_of_a_page_loads(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(PAGES[NAMES.index(name)]):
        if block.note == "file":
            target = tmp_path / block.name
            target.parent.mkdir(exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        if block.language == "yaml":
            Recipe.check(merge(_MINIMAL, parse_yaml(block.text, name)), name)
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "jsonl":
            assert all(json.loads(line) for line in block.text.splitlines())


def test_every_yaml_file_in_the_repository_loads() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.yaml", "*.yml"], cwd=ROOT, capture_output=True, text=True
    )
    found = listed.stdout.split() if listed.returncode == 0 else []
    for path in (ROOT / name for name in found):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert content is not None, path
        if isinstance(content, dict) and {"model", "data"} <= content.keys():
            load_recipe(path)


# Links


def slug(heading: str) -> str:
    """The anchor that a heading gets where Markdown is shown."""
    plain = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return plain.replace(" ", "-")


def headings(page: Path) -> set[str]:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return {slug(line.lstrip("#")) for line in text.splitlines() if line.startswith("#")}


@pytest.mark.parametrize("name", [*NAMES, "CHANGELOG.md"])
def test_every_relative_link_leads_somewhere(name: str) -> None:
    page = ROOT / name if (ROOT / name).is_file() else DOCS / name
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name}: {link}"
        if anchor:
            assert anchor in headings(target), f"{name}: {link}"


# Tables that must match the code


def table(page: str, heading: str) -> list[list[str]]:
    """Cells of the rows of the first table below a heading, the table's own heading left out."""
    text = (DOCS / page).read_text(encoding="utf-8")
    lines = iter(text.splitlines())
    level = next(line for line in lines if slug(line.lstrip("#")) == slug(heading))
    assert level.startswith("#")
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            rows.append([cell.strip() for cell in cells])
        elif rows or line.startswith("#"):
            break
    return rows[2:]


def code(value: str) -> str:
    return f"`{value}`"


def recipe_rows(model: type[Strict]) -> list[list[str]]:
    """Key, default and meaning of every key that a configuration model has of its own."""
    rows = []
    for name in (name for name in model.model_fields if name in model.__annotations__):
        field = model.model_fields[name]
        default = field.get_default(call_default_factory=True)
        if field.is_required():
            shown = "required"
        elif default is None:
            shown = "chosen" if name in _chosen_keys() else "none"
        else:
            shown = code(json.dumps(default))
        rows.append([code(name), shown, " ".join((field.description or "").split())])
    return rows


def _chosen_keys() -> set[str]:
    """Keys that `plan/` fills: the first argument of every `choice.set`."""
    trees = [ast.parse(p.read_text(encoding="utf-8")) for p in (SOURCE / "plan").glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    calls = [n for n in nodes if isinstance(n, ast.Call) and n.args]
    named = [
        n.args[0].value
        for n in calls
        if isinstance(n.func, ast.Attribute)
        and n.func.attr == "set"
        and isinstance(n.args[0], ast.Constant)
    ]
    return {*map(str, named), "task"}


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("Keys", Recipe),
        ("Keys of layers and LoRA", TrainedWeights),
        ("Keys of regularisation", Regularization),
        ("Keys of the optimizer", Optimization),
        ("Keys of few bits", QuantizationAwareKeys),
        ("Keys of generated answers", GenerationKeys),
        ("Keys of pairs", PairKeys),
        ("Keys of answers", AnswerKeys),
        ("Keys of watching", WatchingKeys),
        ("Keys below data", DataConfig),
        ("Keys of a source in data.train", WeightedSource),
        ("Keys below data.augment", AugmentConfig),
    ],
    ids=[
        "top",
        "weights",
        "regularisation",
        "optimizer",
        "few bits",
        "generated",
        "pairs",
        "answers",
        "watching",
        "data",
        "source",
        "augment",
    ],
)
def test_the_recipe_page_lists_every_key_as_the_code_has_it(heading: str, model: Any) -> None:
    assert table("recipe.md", heading) == recipe_rows(model)


def test_the_recipe_page_says_how_each_open_key_is_chosen() -> None:
    listed = {key for row in table("recipe.md", "Keys left out") for key in _quoted(row[0])}
    assert listed == _chosen_keys()


def _facts(kind: Any, parameters: float, hidden_size: int) -> ModelFacts:
    return ModelFacts(Path(), kind, "", int(parameters), 4096, hidden_size, 2, 1000, 0)


@pytest.mark.parametrize(
    ("facts", "task", "rows"),
    [
        (_facts("encoder", 22e6, 384), Task.CLASSIFICATION, 4000),
        (_facts("encoder", 110e6, 768), Task.REGRESSION, 300),
        (_facts("encoder", 300e6, 1024), Task.MULTILABEL, 30_000),
        (_facts("decoder", 135e6, 576), Task.INSTRUCTION, 500),
        (_facts("decoder", 90e6, 576), Task.TEXT, 500),
    ],
    ids=lambda value: str(value)[:8],
)
def test_the_recipe_page_gives_the_numbers_that_are_chosen(
    facts: ModelFacts, task: Task, rows: int
) -> None:
    cells = {key: row[1] for row in table("recipe.md", "Keys left out") for key in _quoted(row[0])}
    recipe = Recipe.check(_MINIMAL)
    machine = Machine("cpu", 8_000_000_000, 1.0)
    chosen = choose_settings(recipe, facts, task, [50] * rows, machine, validation_rows=20)
    # Given by rule, not number: the rates of LoRA and of new heads, its rank, `max_length`, and the
    # epochs of few rows.
    by_number = set(chosen.reasons) - {"lora_alpha", "head_learning_rate", "max_length"}
    if rows < 3000:
        by_number.remove("num_train_epochs")
    if chosen.recipe.method == "lora":
        by_number.remove("learning_rate")
    for key in by_number:
        value = getattr(chosen.recipe, key)
        if isinstance(value, bool):
            shown = "yes" if value else "no"
        elif isinstance(value, float) and 0 < value < 0.01:
            shown = f"{value:.0e}".replace("e-0", "e-")
        else:
            shown = f"{value:,g}" if isinstance(value, int | float) else str(value)
        assert re.search(rf"(?<![\w.,]){re.escape(shown)}(?![\w.])", cells[key]), (key, shown)


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def findings_in_code() -> dict[str, set[str]]:
    """Severities of each finding id, from the calls that make findings."""
    makers: dict[str, set[str]] = {}
    calls: list[ast.Call] = []
    for path in [*(SOURCE / "data").glob("*.py"), SOURCE / "models" / "toxic_rows.py"]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                for call in _calls(node, {"Finding"}):
                    if isinstance(call.args[0], ast.Name) and (given := _words(call.args[1])):
                        makers[node.name] = given  # takes the id, gives the severity
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                calls.append(node)
    found: dict[str, set[str]] = {}
    for call in calls:
        function = call.func.id  # type: ignore[attr-defined]
        words = [word for argument in call.args for word in _words(argument)]
        named = [word for word in words if re.fullmatch(r"[a-z_]+\.[a-z_]+", word)]
        if function in {"Finding", "row_findings", *makers} and named:
            severities = makers.get(function) or _words(call.args[1])
            found.setdefault(named[0], set()).update(severities)
    return found


def _words(node: ast.expr) -> set[str]:
    """The text that an argument is, or may be."""
    if isinstance(node, ast.IfExp):
        return _words(node.body) | _words(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def _calls(tree: ast.AST, names: set[str]) -> list[ast.Call]:
    return [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id in names
    ]


def test_the_check_page_lists_every_finding_with_its_severity() -> None:
    listed = {
        name: set(re.split(r" or |, ", row[1]))
        for row in table("check.md", "Findings")
        for name in _quoted(row[0])
    }
    assert listed == findings_in_code()
    assert len(listed) > 20
    # What a recipe may accept is what stops a run.
    assert sorted(ERRORS) == sorted(name for name, said in listed.items() if "error" in said)


def test_the_check_page_says_how_many_rows_are_enough() -> None:
    rows = [
        [re.findall(r"[\d,]+", cell) for cell in row[1:]]
        for row in table("check.md", "How many rows")
    ]
    assert rows == [[[f"{a:,}"], [f"{b:,}", f"{c:,}"]] for _, a, b, c in ENOUGH_ROWS]


def test_the_data_page_lists_every_data_set_of_the_catalogue() -> None:
    listed = {_quoted(row[0])[0]: row[1:3] for row in table("data.md", "Data sets by name")}
    assert listed == {e.name: [f"{e.rows:,}", e.licence] for e in data_catalogue.CATALOGUE.values()}


def metric_rows() -> list[list[str]]:
    """Name, aliases, better direction, and tasks of every metric; defaults are in bold."""
    rows = []
    for metric in _METRICS:
        aliases = [code(alias) for alias, name in _ALIASES.items() if name == metric.name]
        tasks = [
            f"**{task.value}**" if metric.name in metrics_for(task) else task.value
            for task in Task
            if metric.fits(task)
        ]
        rows.append(
            [code(metric.name), ", ".join(aliases), metric.better, ", ".join(tasks) or "none yet"]
        )
    return rows


def test_the_evaluation_page_lists_every_metric_as_the_code_has_it() -> None:
    rows = table("evaluate.md", "Metrics")
    assert [row[:4] for row in rows] == metric_rows()
    assert all(row[4] for row in rows), "each metric has its meaning"
    assert len(rows) == len(METRIC_NAMES)


def test_the_models_page_lists_the_catalogue() -> None:
    assert [row[:4] for row in table("models.md", "The catalogue")] == [
        [code(e.name), e.kind, f"{e.parameters / 1e6:.1f}M", e.licence]
        for e in model_catalogue.CATALOGUE.values()
    ]


def test_the_python_page_lists_the_public_names() -> None:
    listed = [name for row in table("python.md", "Public names") for name in _quoted(row[0])]
    assert sorted(listed) == sorted(fine_tuning.__all__)


def test_the_index_lists_every_verb() -> None:
    listed = [_quoted(row[0])[0] for row in table("index.md", "Commands")]
    assert listed == list(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_the_architecture_page_says_why_each_file_exists() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([\w/.]+\.py)` \|", text, re.MULTILINE))
    there = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if path.name != "__init__.py"
    }
    assert listed - there == set(), "files that are gone"
    assert there - listed == set(), "files that need a line in docs/architecture.md"


def test_documents_name_no_place_of_one_machine() -> None:
    for page in [*PAGES, ROOT / "CHANGELOG.md"]:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"/work/|/root/|/tmp/|localhost", text), page.name


def test_the_json_of_check_and_evaluate_has_the_shape_that_is_shown() -> None:
    def shown(page: str) -> Any:
        return next(json.loads(b.text) for b in blocks(DOCS / page) if b.language == "json")

    empty = Evaluation("", "", {}, 0, {}).to_dict()
    assert shown("evaluate.md").keys() == empty.keys()
    rows = Dataset(Task.TEXT, (Record("a text"),))
    checked = shown("check.md")
    assert checked.keys() == audit(rows).to_dict().keys()
    assert checked["findings"][0].keys() == Finding("a.b", "info", 1, "", "").to_dict().keys()


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md"])
def test_counts_are_those_of_the_code(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    counts = {"kinds of findings": len(findings_in_code()), "metrics": len(METRIC_NAMES)}
    for what, number in counts.items():
        assert re.findall(rf"(\d+) {what}", text) == [str(number)], what
