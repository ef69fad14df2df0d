"""Does the model keep its answers when rows are written otherwise: slips, case, punctuation?

Every probe changes what the user wrote and nothing else; the label or the reference stays, and the
score is compared row by row with that of the clean rows. Of questions, and of texts to find others
by, only what is asked changes. Negation is another matter: it may well change the right answer, so
there no score is taken, only how often the answer moves. This module knows models that answer. It
does not know training.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tunewright.config.task import Task
from tunewright.data.augment import NEGATIONS, change_text, is_protected, with_changed_text
from tunewright.data.records import Record
from tunewright.errors import ConfigError
from tunewright.evaluate import wording
from tunewright.evaluate.answers import Answers, Work, row_counter
from tunewright.evaluate.previous import expected_answers, listed, paired, right_rows, said_answers
from tunewright.evaluate.reworded import reworded, rows_of
from tunewright.evaluate.worst_errors import asked
from tunewright.metrics import compare, correct, estimate, get_metric
from tunewright.models.load import Finished
from tunewright.models.paraphrase import rewriter

SLIPS = 0.2
"""Share of the words of four letters or more that get a typing slip."""
NEGATION = "negation"
_SIGNIFICANT = 0.05
_SHOWN = 5
_AT_ONCE = 32
"""Texts that are rewritten between two looks at the clock."""
_TEXT = 300
"""Characters of a text that are kept."""
_MARKS = re.compile(r"[^\w\s'\u2019]+")
_AUXILIARY = re.compile(
    r"\b(is|are|was|were|am|will|would|can|could|should|must|may|might|does|do|did|has|have|had)\b",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"\b(\w+?)(?:n['\u2019]t|(?<=can)not)\b|\s*\b(?:not|never)\b", re.IGNORECASE)
_WHOLE = {"ca": "can", "wo": "will", "sha": "shall", "ai": "is"}
"""What is left of a word without its n't, where that is no word."""

_UNCHANGEABLE = {
    Task.TEXT: "ask nothing",
    Task.TOKEN_CLASSIFICATION: "have a tag for each word as it is written",
}
"""Why no other words can be taken."""

Change = Callable[[str, random.Random], str]


@dataclass(slots=True)
class _Slips:
    """What `change_text` is told: slips and nothing else."""

    copies: int = 1
    typos: float = SLIPS
    word_dropout: float = 0.0
    synonym_replacement: float = 0.0

    @property
    def synonyms(self) -> Mapping[str, Sequence[str]]:
        """None."""
        return {}


def with_slips(text: str, noise: random.Random) -> str:
    """A slip in one word of five that is long enough; numbers, names and negations stay."""
    return change_text(text, _Slips(), noise)


def without_punctuation(text: str, noise: random.Random) -> str:
    """Without marks, but for numbers, addresses, @names, hashtags and faces made of marks."""
    words = re.split(r"(\s+)", text)
    return "".join(word if _means_marks(word) else _MARKS.sub("", word) for word in words)


def _means_marks(word: str) -> bool:
    """Whether marks are part of what a word means; a negation is protected for its letters."""
    return is_protected(word) and re.sub(r"\W", "", word.lower()) not in NEGATIONS


def negated(text: str, noise: random.Random) -> str:
    """The first `not` or `n't` taken out, or else one put behind the first auxiliary verb.

    English only. A text without either stays as it is.
    """
    if _NEGATED.search(text):
        return _NEGATED.sub(lambda m: _WHOLE.get(m[1], m[1]) if m[1] else "", text, count=1)
    return _AUXILIARY.sub(r"\1 not", text, count=1)


PROBES: dict[str, Change] = {
    "typing slips": with_slips,
    "lower case": lambda text, noise: text.lower(),
    "capitals": lambda text, noise: text.upper(),
    "no punctuation": without_punctuation,
}
"""Changes after which the same answer is right."""
PARAPHRASES = "paraphrases"
_ASKED_FIRST = (Task.QUESTION_ANSWERING, Task.EMBEDDING)
"""Tasks whose rows ask with their first text of the second one, which stays as it is."""


def require_changeable(task: Task) -> None:
    """Refuse rows of which robustness cannot be measured.

    Raises:
        ConfigError: the rows ask nothing, or what they ask for is in their own words.
    """
    if (why := _UNCHANGEABLE.get(task)) is not None:
        raise ConfigError(
            f"--robustness changes what a row asks; rows of task {task.value!r} {why}. It is there "
            "for labels, numbers, instructions, questions and pairs."
        )


def measure_robustness(
    finished: Finished,
    work: Work,
    names: Sequence[str],
    answers: Answers,
    paraphraser: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Score the model on changed rows, beside the clean ones.

    Args:
        finished: the model.
        work: the rows.
        names: metrics; the first one is measured.
        answers: of the model to the clean rows.
        paraphraser: a model that says the rows in other words, for one more probe.
        seed: of the slips.

    Returns:
        `metric`, `better`, `clean` (its score), `probes` (by name `rows` that changed, `score`,
        `comparison` of changed less clean with p corrected for the number of probes, `status`,
        `broken` and `fixed` rows where rows are right or wrong, `examples` of broken ones),
        `negation` (of labels, questions and texts to find: `rows`, the share of `moved` answers,
        `examples`), `paraphraser`, `status`, `verdict` and `notes`.
    """
    require_changeable(work.dataset.task)
    metric = get_metric(names[0])
    clean = work.pair(metric.name, answers)
    notes: list[str] = []
    found: dict[str, dict[str, Any]] = {}
    probes = dict(PROBES)
    if paraphraser is not None:
        probes[PARAPHRASES], failed = _paraphrases(work, paraphraser)
        notes += failed
    for name, change in probes.items():
        changed, there = _ask(finished, work, names, change, f"Probe: {name}", seed)
        rows = _differing(work, changed)
        pair = work.pair(metric.name, there)
        if not rows:
            notes.append(f"{wording.capitalised(name)}: no row is written otherwise then.")
            continue
        clean, pair = _of_the_same(clean, pair, metric.needs)
        if not paired(clean, pair):
            notes.append(f"{wording.capitalised(name)}: not the same is scored then; left out.")
            continue
        assert clean is not None and pair is not None
        found[name] = {
            "rows": len(rows),
            "score": estimate(metric, *pair, groups=work.groups).to_dict(),
            "comparison": compare(
                metric, clean[0], pair[1], clean[1], groups=work.groups
            ).to_dict(),
        } | _flips(work, changed, answers, there, names)
    for probe, p in zip(
        found.values(), correct([f["comparison"]["p"] for f in found.values()]), strict=True
    ):
        probe["comparison"]["p"] = p
        probe["status"] = _status(probe["comparison"]["difference"], p, metric.better)
    negation = None
    if _has_answers_that_move(work, answers):
        negation = _negation_probe(finished, work, names, answers, seed)
    assert clean is not None
    result: dict[str, Any] = {
        "metric": metric.name,
        "better": metric.better,
        "clean": estimate(metric, *clean, groups=work.groups).to_dict(),
        "probes": found,
        "negation": negation,
        "paraphraser": paraphraser,
        "status": "worse" if any(f["status"] == "worse" for f in found.values()) else "none",
        "notes": notes,
    }
    return result | {"verdict": _verdict(result)}


def _ask(
    finished: Finished, work: Work, names: Sequence[str], change: Change, what: str, seed: int
) -> tuple[Work, Answers]:
    task = work.dataset.task
    records = []
    for position, record in enumerate(work.dataset):
        # Equal texts to search by stay equal, or another text would become the right one.
        noise = random.Random(f"{seed}:{record.text if task is Task.EMBEDDING else position}")

        def written(text: str, noise: random.Random = noise) -> str:
            return change(text, noise)

        records.append(_changed(record, written, task, one_text=change is negated))
    changed, _ = reworded(work, records, finished.facts.max_length)
    return changed, changed.answers(finished, names[:1], what)


def _changed(
    record: Record, change: Callable[[str], str], task: Task, one_text: bool = False
) -> Record:
    """The record with what is asked changed; of a pair the first text alone where the second is
    searched, or where changing both would cancel out."""
    if record.text_pair is not None and (one_text or task in _ASKED_FIRST):
        return replace(record, text=change(record.text))
    return with_changed_text(record, change)


def _paraphrases(work: Work, model: str) -> tuple[Change, list[str]]:
    """Every text in the words of a model, and what it could not say otherwise."""
    texts: dict[str, None] = {}

    def collect(text: str) -> str:
        texts[text] = None
        return text

    for record in work.dataset:
        _changed(record, collect, work.dataset.task)
    ask, said = rewriter(model, device=work.device), dict[str, str]()
    step = row_counter(work.progress, f"In the words of {model}", len(texts))
    every = sorted(filter(str.strip, texts), key=len)
    for first in range(0, len(every), _AT_ONCE):
        some = every[first : first + _AT_ONCE]
        for text, other in zip(some, ask(some, 0), strict=True):
            if other is not None and other.strip():
                said[text] = other.strip()
        if step is not None:
            step(len(some))
    notes = [
        f"Paraphrases are by {model} and may say something else than the row; look at those that "
        "are shown."
    ]
    if left := len(every) - len(said):
        notes.append(f"{left:,} of {len(every):,} texts got no paraphrase with an end; they stay.")
    return lambda text, noise: said.get(text, text), notes


def _has_answers_that_move(work: Work, answers: Answers) -> bool:
    """Whether an answer is one thing or another: a label, a span, the text that is found."""
    task = work.dataset.task
    finds = answers.pairs is not None and any(r.label is None for r in work.records)
    return finds or task in (Task.CLASSIFICATION, Task.MULTILABEL, Task.QUESTION_ANSWERING)


def _differing(work: Work, changed: Work) -> list[int]:
    """Places of the examples (of questions, of the rows) whose tokens are others than before."""
    if work.dataset.task is Task.QUESTION_ANSWERING:
        before, now = rows_of(work), rows_of(changed)
        ids = [[[e.input_ids for e in every[row]] for row in work.rows] for every in (before, now)]
        return [i for i, (one, other) in enumerate(zip(*ids, strict=True)) if one != other]
    pairs = enumerate(zip(work.examples, changed.examples, strict=True))
    return [i for i, (one, other) in pairs if one.input_ids != other.input_ids]


def _of_the_same(clean: Any, pair: Any, needs: str) -> tuple[Any, Any]:
    """References and predictions of both. Among how many texts one was looked for may differ by
    the few that other words make equal; what is compared is its rank."""
    if needs != "ranks" or clean is None or pair is None:
        return clean, pair
    candidates = np.maximum(clean[0], pair[0])
    return (candidates, clean[1]), (candidates, pair[1])


def _flips(
    work: Work, changed: Work, answers: Answers, there: Answers, names: Sequence[str]
) -> dict[str, Any]:
    """How many rows were right and are not, and the other way round; nothing for numbers."""
    before, now = right_rows(work, answers, names), right_rows(work, there, names)
    if before is None or now is None:
        return {"broken": None, "fixed": None, "examples": []}
    broken = [i for i, (b, n) in enumerate(zip(before, now, strict=True)) if b and not n]
    return {
        "broken": len(broken),
        "fixed": sum(n and not b for b, n in zip(before, now, strict=True)),
        "examples": _examples(work, changed, answers, there, broken),
    }


def _examples(
    work: Work, changed: Work, answers: Answers, there: Answers, places: Sequence[int]
) -> list[dict[str, Any]]:
    """The first few of these rows, as they were and as they are asked and answered now."""
    expected = expected_answers(work)
    said, now = (said_answers(work, a) for a in (answers, there))
    return [
        {
            "row": work.records[i].row,
            "text": asked(work.records[i])[:_TEXT],
            "changed": asked(changed.records[i])[:_TEXT],
            "expected": listed(expected[i]),
            "before": listed(said[i]),
            "now": listed(now[i]),
        }
        for i in places[:_SHOWN]
    ]


def _negation_probe(
    finished: Finished, work: Work, names: Sequence[str], answers: Answers, seed: int
) -> dict[str, Any] | None:
    """How often the answer moves where a sentence is negated; None where no row could be."""
    changed, there = _ask(finished, work, names, negated, f"Probe: {NEGATION}", seed)
    rows = _differing(work, changed)
    if not rows:
        return None
    before, now = (said_answers(work, found) for found in (answers, there))
    moved = [before[i] != now[i] for i in rows]
    share = estimate("accuracy", [True] * len(rows), moved)
    kept = [i for i, other in zip(rows, moved, strict=True) if not other]
    return {
        "rows": len(rows),
        "moved": share.to_dict(),
        "examples": _examples(work, changed, answers, there, kept),
    }


def _status(difference: float | None, p: float, better: str) -> str:
    if difference is None or p >= _SIGNIFICANT:
        return "none"
    return "better" if (difference > 0) == (better == "higher") else "worse"


def said_change(metric: str, test: Mapping[str, Any]) -> str:
    """The 95 % interval of what changed, in points, per cent of a perplexity, or as it is."""
    return wording.interval_of_change(get_metric(metric).unit, test)


def _verdict(found: Mapping[str, Any]) -> list[str]:
    worse = [name for name, probe in found["probes"].items() if probe["status"] == "worse"]
    head = "No probe of robustness lowers the score detectably."
    if worse:
        head = f"The model is worse on rows with {', '.join(worse)}."
    elif not found["probes"]:
        head = "No probe of robustness changes these rows."
    metric = found["metric"]
    said = []
    for name, probe in found["probes"].items():
        scores = [wording.number(found["clean"]["value"]), wording.number(probe["score"]["value"])]
        ends = {"worse": "worse", "better": "better", "none": "no detectable difference"}
        broken = "" if probe["broken"] is None else f"; {probe['broken']:,} rows broken, "
        broken += "" if probe["fixed"] is None else f"{probe['fixed']:,} fixed"
        said.append(
            f"{name}: {wording.metric_name(metric)} {scores[0]} on clean rows, {scores[1]} then: "
            f"{ends[probe['status']]} ({said_change(metric, probe['comparison'])}{broken})."
        )
    if negation := found["negation"]:
        share = negation["moved"]
        said.append(
            f"negation: the answer moves in {100 * share['value']:.0f} % of "
            f"{wording.plural(negation['rows'], 'row')} (95 % interval {100 * share['low']:.0f} to "
            f"{100 * share['high']:.0f} %); whether it should is for a reader to say."
        )
    return [head, *said]
