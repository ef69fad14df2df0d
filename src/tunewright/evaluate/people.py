"""Which of two models people prefer, asked blind: answers side by side, votes, and what they say.

A folder holds the answers, made once, a file of votes for each rater, and the result. This module
knows answers and votes. It does not know terminals.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from tunewright.artifacts import Artifact, atomic_write, write_json
from tunewright.config.task import Task
from tunewright.data.labelling import LineFile
from tunewright.data.records import Dataset
from tunewright.errors import ArtifactError, ConfigError, DataError
from tunewright.evaluate.answers import Progress, row_counter
from tunewright.metrics import estimate
from tunewright.metrics.agreement import cohen_kappa, krippendorff_alpha
from tunewright.metrics.intervals import finite_or_none
from tunewright.metrics.registry import Metric
from tunewright.metrics.sufficient import mean_of
from tunewright.models.generate import generate
from tunewright.models.load import load_finished

ANSWERS = "answers.jsonl"
VOTES = "votes"
RESULT = "human.json"
PREFERENCES = "preferences.jsonl"
MODEL, OTHER, TIE = "model", "other", "tie"
"""What a vote may be: the model that is evaluated, the one it is compared with, or neither."""
_WORTH = {MODEL: 1.0, TIE: 0.5, OTHER: 0.0}
_WIN_RATE = Metric("win_rate", "higher", "numbers", lambda _, worth: mean_of(worth))


@dataclass(frozen=True, slots=True)
class Answered:
    """One prompt and what both models answered."""

    item: int
    prompt: str
    model: str
    other: str

    def shown(self, rater: str) -> tuple[str, str]:
        """Which model stands first and which second for a rater: by chance, the same each time."""
        word = f"{rater}\0{self.item}\0{self.prompt}".encode("utf-8", "replace")
        sides = (MODEL, OTHER)
        return sides if hashlib.sha256(word).digest()[0] % 2 else sides[::-1]

    def answer(self, side: str) -> str:
        """What one of the two answered."""
        return self.model if side == MODEL else self.other


def make_answers(
    model: str,
    other: str | None,
    dataset: Dataset,
    folder: Path,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    max_new_tokens: int = 256,
    progress: Progress | None = None,
) -> list[Answered]:
    """Let both models answer, or read the answers that the folder has.

    Args:
        model: a finished run or another model that writes answers.
        other: the model to compare with. Default: what `model` was tuned from.
        dataset: rows of instructions or conversations.
        folder: where answers and votes are kept.
        device: `auto`, `cpu`, `cuda` or `mps`.
        batch_size: prompts in one batch. Default: as `generate` finds good.
        max_new_tokens: longest answer in tokens.
        progress: told how far the work is.

    Raises:
        ConfigError: the rows ask nothing, or there is no other model.
        ArtifactError: the folder holds the answers of something else.
    """
    if dataset.task is not Task.INSTRUCTION:
        raise ConfigError(
            f"People compare answers; rows of task {dataset.task.value!r} ask for none. Give "
            "instructions or conversations."
        )
    asked = hashlib.sha256("\0".join(r.plain_text for r in dataset).encode("utf-8", "replace"))
    config = {
        "model": model,
        "other": other,
        "rows": len(dataset),
        "asked": asked.hexdigest(),
        "max_new_tokens": max_new_tokens,
    }
    if (folder / "manifest.json").is_file():
        artifact = Artifact.open(folder, "human")
        changed = [key for key, value in config.items() if artifact.config.get(key) != value]
        if changed:
            raise ArtifactError(
                f"{folder} holds votes on something else (different: {', '.join(changed)}). "
                "Choose another --output."
            )
        if (folder / ANSWERS).is_file():
            text = (folder / ANSWERS).read_text(encoding="utf-8")
            return [Answered(**json.loads(line)) for line in text.splitlines()]
    finished = load_finished(model, dataset.task, device=device)
    against = other or finished.settings.base
    if not against or against == model:
        raise ConfigError(
            f"{model} does not say what it was tuned from; give the model to compare with: "
            "--against MODEL."
        )
    said = []
    for name, loaded in ((model, finished), (against, None)):
        ready = loaded or load_finished(
            name, dataset.task, device=device, dtype=finished.model.dtype
        )
        renderer = ready.settings.renderer(ready.tokenizer)
        said.append(
            generate(
                ready.model,
                ready.tokenizer,
                [renderer.prompt(record)[0] for record in dataset],
                renderer.stop_ids(),
                max_new_tokens=max_new_tokens,
                batch_size=batch_size,
                progress=row_counter(progress, f"Answers of {name}", len(dataset)),
            )
        )
    found = [
        Answered(i, "\n\n".join(m.content for m in record.messages[:-1]), ours, theirs)
        for i, (record, ours, theirs) in enumerate(zip(dataset, *said, strict=True), 1)
    ]
    artifact = Artifact.create(folder, "human", config)
    lines = [
        {"item": row.item, "prompt": row.prompt, "model": row.model, "other": row.other}
        for row in found
    ]
    atomic_write(folder / ANSWERS, "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines))
    artifact.finish("done", rows=len(found))
    return found


T = TypeVar("T")


@dataclass
class Turns(Generic[T]):
    """What one rater has still to judge, one after the other.

    Attributes:
        rater: who judges.
        lines: the rater's file; each judgement is on the disk before the next is asked.
        waiting: what is still to judge, the next one first.
        total: how much there is in all.
    """

    rater: str
    lines: LineFile
    waiting: list[T]
    total: int
    _done: list[T] = field(default_factory=list)

    @property
    def current(self) -> T | None:
        """What is to judge now, or None when all is judged."""
        return self.waiting[0] if self.waiting else None

    def judge(self, line: dict[str, Any]) -> None:
        """Write what was said of the current one, and go on to the next."""
        self.lines.append(line)
        self._done.append(self.waiting.pop(0))

    def skip(self) -> None:
        """Ask about the current one last."""
        self.waiting.append(self.waiting.pop(0))

    def undo(self) -> bool:
        """Take back what was said last in this session; False where there is nothing."""
        if not self._done:
            return False
        self.lines.drop_last()
        self.waiting.insert(0, self._done.pop())
        return True


class Ballot(Turns[Answered]):
    """The prompts one rater has still to judge; made by `open_ballot`."""

    def vote(self, place: int | None) -> None:
        """Prefer the first answer (0) or the second (1) of the current prompt, or neither."""
        row = self.waiting[0]
        shown = row.shown(self.rater)
        choice = TIE if place is None else shown[place]
        self.judge({"text": row.prompt, "label": choice, "item": row.item, "first": shown[0]})


def require_rater(rater: str) -> None:
    """Refuse a rater's name that cannot be that of a file.

    Raises:
        ConfigError: says what a name may have.
    """
    if not re.fullmatch(r"[\w-][\w.-]*", rater):
        raise ConfigError(f"--rater {rater!r} is not a name of letters, digits, dots and dashes.")


@contextmanager
def open_ballot(folder: Path, rows: Sequence[Answered], rater: str) -> Iterator[Ballot]:
    """Begin to judge, or go on: what the rater judged before is not asked again.

    Raises:
        ConfigError: the rater's name is no name of a file.
        DataError: both models answer every prompt alike.
        ArtifactError: the same rater judges in another process.
    """
    require_rater(rater)
    asked = [row for row in rows if row.model.strip() != row.other.strip()]
    if not asked:
        raise DataError(
            "Both models answer every prompt alike, so there is nothing to judge. Compare other "
            "models, or ask more."
        )
    with LineFile(folder / VOTES / f"{rater}.jsonl", list(_WORTH)) as votes:
        judged = {vote["item"] for vote in votes.lines}
        waiting = [row for row in asked if row.item not in judged]
        random.Random(rater).shuffle(waiting)
        yield Ballot(rater, votes, waiting, len(asked))


def read_votes(folder: Path) -> dict[str, dict[int, str]]:
    """What each rater said of each item, as far as it is on the disk."""
    found: dict[str, dict[int, str]] = {}
    for path in sorted((folder / VOTES).glob("*.jsonl")):
        whole = path.read_bytes().rpartition(b"\n")[0]
        rows = [json.loads(line) for line in whole.splitlines()]
        if rows:
            found[path.stem] = {int(row["item"]): str(row["label"]) for row in rows}
    return found


def count_votes(
    folder: Path, rows: Sequence[Answered], finds: str = "people find"
) -> dict[str, Any]:
    """What the votes say; written to `human.json`, with preference pairs beside it.

    Args:
        folder: of answers and votes.
        rows: the answers.
        finds: who finds the model better or worse, for the verdict.

    Returns:
        `raters` (votes of each), `votes` by choice, `win_rate` (a tie counts half; interval over
        prompts), `p` (sign test of the prompts that a majority decides), `agreement`
        (Krippendorff's `alpha`, Cohen's `kappa` of each two raters), `same`, `preferences`, and
        `verdict`.

    Raises:
        DataError: there is no vote.
    """
    from scipy.stats import binomtest

    votes = read_votes(folder)
    every = [(item, choice) for said in votes.values() for item, choice in said.items()]
    if not every:
        raise DataError(f"There is no vote in {folder / VOTES} yet.")
    by_item: dict[int, dict[str, str]] = {}
    for rater, said in votes.items():
        for item, choice in said.items():
            by_item.setdefault(item, {})[rater] = choice
    worth = [_WORTH[choice] for _, choice in every]
    groups = [item for item, _ in every]
    rate = estimate(_WIN_RATE, worth, worth, groups=groups)
    decided = {item: _majority(said) for item, said in by_item.items()}
    wins, losses = (sum(d == side for d in decided.values()) for side in (MODEL, OTHER))
    p = float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    pairs = _preferences(rows, decided, by_item)
    write_preferences(folder / PREFERENCES, pairs)
    found: dict[str, Any] = {
        "raters": {rater: len(said) for rater, said in votes.items()},
        "votes": dict(Counter(choice for _, choice in every)),
        "prompts": len(by_item),
        "same": sum(row.model.strip() == row.other.strip() for row in rows),
        "win_rate": rate.to_dict(),
        "wins": wins,
        "losses": losses,
        "p": p,
        "agreement": _agreement(votes, by_item),
        "preferences": len(pairs),
    }
    found["verdict"] = _verdict(found, finds)
    write_json(folder / RESULT, found)
    return found


def _majority(said: Mapping[str, str]) -> str:
    """The model that more raters of a prompt prefer than the other; a tie where neither."""
    balance = sum(_WORTH[choice] - 0.5 for choice in said.values())
    return MODEL if balance > 0 else OTHER if balance < 0 else TIE


def _preferences(
    rows: Sequence[Answered], decided: Mapping[int, str], by_item: Mapping[int, Mapping[str, str]]
) -> list[dict[str, Any]]:
    """Rows of preference data, from prompts that are decided."""
    return [
        preference(row, side, len(by_item[row.item]))
        for row in rows
        if (side := decided.get(row.item, TIE)) != TIE
    ]


def preference(row: Answered, side: str, votes: int) -> dict[str, Any]:
    """A row of preference data: the answer of `side` is chosen, by so many votes."""
    return {
        "prompt": row.prompt,
        "chosen": row.answer(side),
        "rejected": row.answer(OTHER if side == MODEL else MODEL),
        "votes": votes,
    }


def write_preferences(path: Path, pairs: Sequence[Mapping[str, Any]]) -> None:
    """Write preference data as JSON lines."""
    atomic_write(path, "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs))


def _agreement(
    votes: Mapping[str, Mapping[int, str]], by_item: Mapping[int, Mapping[str, str]]
) -> dict[str, Any] | None:
    if len(votes) < 2:
        return None
    kappas = []
    for one, other in itertools.combinations(votes, 2):
        shared = sorted(votes[one].keys() & votes[other].keys())
        if shared:
            kappa = cohen_kappa(*([votes[rater][i] for i in shared] for rater in (one, other)))
            kappas.append(
                {"raters": [one, other], "kappa": finite_or_none(kappa), "prompts": len(shared)}
            )
    alpha = krippendorff_alpha(list(by_item.values()))
    return {"alpha": finite_or_none(alpha), "kappa": kappas}


def _verdict(found: Mapping[str, Any], finds: str) -> str:
    rate = found["win_rate"]
    between = ""
    if rate["low"] is not None and rate["high"] is not None:
        between = f" (95 % interval {100 * rate['low']:.0f} to {100 * rate['high']:.0f} %)"
    said = f"The model wins {100 * rate['value']:.0f} %{between}, a tie counting half"
    if found["p"] >= 0.05:
        return f"{said}: no detectable difference (sign test, p = {found['p']:.2f})."
    which = "better" if found["wins"] > found["losses"] else "worse"
    p = "p < 0.001" if found["p"] < 0.001 else f"p = {found['p']:.3f}"
    return f"{said}: {finds} it {which} (sign test, {p})."
