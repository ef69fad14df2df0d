"""Look at a data set and say everything in it that would spoil a model or its score.

Nothing is changed here. Each finding has a stable id; `docs/check.md` lists them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tunewright.data import (
    answer_checks,
    checks,
    copies,
    hostile,
    language,
    pair_checks,
    personal_rows,
    tag_checks,
    template_audit,
    variety,
    word_list,
)
from tunewright.data.example import Example, Truncation
from tunewright.data.finding import SEVERITIES, Finding, Severity
from tunewright.data.layout import pick_template
from tunewright.data.pair_texts import paired_examples
from tunewright.data.records import Dataset, Splits, Task
from tunewright.data.render import Renderer
from tunewright.data.survey import Batch, Look, survey
from tunewright.data.wrong_labels import Suspect, check_suspects, find_suspects

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

_BINS = 24
_BATCH = 1000
_NO_LIMIT = 1 << 30


@dataclass(frozen=True, slots=True)
class Audit:
    """What a data set looks like and what is wrong with it.

    Attributes:
        task: what the rows are for.
        rows: in all parts.
        splits: rows by part.
        labels: rows by label, or entities by type, all parts, most frequent first. Empty for tasks
            without classes.
        lengths: of the rows in `unit` (tokens, or characters without a tokenizer): `min`,
            `median`, `p95`, `max`, and a `histogram` with `edges` (n + 1) and `counts` (n);
            `limit` where rows above a length would be cut.
        languages: rows by language (ISO 639-1), most frequent first; unsure rows are left out.
        findings: the worst first.
        suspects: training rows whose label looks wrong, the most suspect first; None where they
            were not looked for.
    """

    task: str
    rows: int
    splits: Mapping[str, int]
    labels: Mapping[str, int]
    lengths: Mapping[str, Any]
    languages: Mapping[str, int] = field(default_factory=dict)
    findings: Sequence[Finding] = field(default_factory=tuple)
    suspects: Sequence[Suspect] | None = None

    @property
    def worst(self) -> Severity | None:
        """The highest severity found, or None."""
        found = {finding.severity for finding in self.findings}
        return next((s for s in reversed(SEVERITIES) if s in found), None)

    def to_dict(self) -> dict[str, Any]:
        """The audit as `tunewright check --json` prints it."""
        content = {
            "task": self.task,
            "rows": self.rows,
            "splits": dict(self.splits),
            "labels": dict(self.labels),
            "lengths": dict(self.lengths),
            "languages": dict(self.languages),
            "findings": [finding.to_dict() for finding in self.findings],
        }
        if self.suspects is not None:
            content["wrong_labels"] = [suspect.to_dict() for suspect in self.suspects]
        return content


def audit(
    data: Splits | Dataset,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_length: int | None = None,
    template: str = "auto",
    truncation: Truncation = "cut",
    parameters: int | None = None,
    wrong_labels: bool = False,
    cut_here: bool = False,
    words: Sequence[str] = (),
    source_prefix: str = "",
    system: str = "",
    further: Sequence[Callable[[Splits], Iterable[Finding]]] = (),
) -> Audit:
    """Examine every row; of many rows on disk, some closer than others (`some_rows`).

    Args:
        data: parts of a data set, or one data set, which counts as training rows.
        tokenizer: measure lengths in its tokens, otherwise in characters; and look at what is
            trained, where the rows are for a model that writes.
        max_length: longest row in tokens that the model will see; needs `tokenizer`.
        template: how prompts are laid out: `chat`, `plain`, `seq2seq`, or `auto` for `chat` where
            the tokenizer has a template.
        truncation: `drop` when rows that are too long are left out instead of cut.
        parameters: number of weights of the model, to judge the number of rows by.
        wrong_labels: also rank training labels that look wrong, by models trained on the words:
            seconds for ten thousand rows.
        cut_here: parts that come from one source were cut from it by `tunewright.data.split`.
        words: from `word_list.read_words`: also count rows that hold one of them.
        source_prefix: text before every source (`seq2seq`).
        system: system message of conversations that have none.
        further: checks of the rows that are looked at closely, such as by a model.

    Raises:
        DataError: the chat template refuses the roles of a row.
    """
    splits = as_splits(data)
    tally = _Tally()
    looks: list[Look] = [*checks.looks(splits.task), personal_rows.Personal()]
    looks += [copies.Copies(splits, cut_here=cut_here), word_list.ListedWords(words)]
    looks += [hostile.Hostile(), tally]
    survey(splits, looks)
    findings = [finding for look in looks for finding in look.findings(splits)]
    findings += [*tag_checks.check_tags(splits), *pair_checks.check_pairs(splits)]
    findings += answer_checks.check_answers(splits)
    findings += checks.check_quantity(splits, parameters)
    seen, told = some_rows(splits, tally.characters)
    findings += told
    of_seen = list(variety.check_variety(seen))
    languages = language.by_row(seen)
    of_seen += language.check_languages(seen, languages)
    lengths = _lengths(tally.sizes, "characters")
    if tokenizer is not None:
        layout = pick_template(template, tokenizer, splits.task)
        sizes, found = _as_seen(
            seen, tokenizer, max_length, layout, truncation, source_prefix, system
        )
        of_seen += found
        if max_length is not None:
            of_seen += checks.over_length(seen, sizes, max_length)
        lengths = _lengths(Counter(n for part in sizes.values() for n in part), "tokens")
    suspects = find_suspects(seen) if wrong_labels else []
    of_seen += check_suspects(seen, suspects)
    of_seen += [finding for look in further for finding in look(seen)]
    findings += of_seen if seen is splits else [replace(f, places=()) for f in of_seen]
    order = {severity: rank for rank, severity in enumerate(reversed(SEVERITIES))}
    findings.sort(key=lambda f: (order[f.severity], -f.rows, f.id))
    if lengths.get("max", 0) and max_length is not None and splits.task not in checks.NEVER_CUT:
        lengths["limit"] = max_length
    return Audit(
        task=splits.task.value,
        rows=sum(len(part) for _, part in splits.items()),
        splits={name: len(part) for name, part in splits.items()},
        labels=dict(sorted(tally.labels.items(), key=lambda item: (-item[1], item[0]))),
        lengths=lengths,
        languages=language.count_languages(languages),
        findings=tuple(findings),
        suspects=tuple(suspects) if wrong_labels else None,
    )


def some_rows(splits: Splits, characters: int) -> tuple[Splits, list[Finding]]:
    """The rows that are looked at by what needs them in memory, and a finding that says so.

    These are all rows, unless some are on disk and more than `copies.near_rows`: then so many of
    each part, drawn at random.

    Args:
        splits: the rows.
        characters: of all rows.
    """
    import numpy as np

    rows = sum(len(part) for _, part in splits.items())
    most = copies.near_rows(rows, characters)
    if rows <= most or not any(part.on_disk for _, part in splits.items()):
        return splits, []
    noise = np.random.Generator(np.random.Philox(key=0))
    parts = []
    for _, part in splits.items():
        chosen = np.arange(len(part))
        if len(part) > most:
            chosen = np.sort(noise.choice(len(part), most, replace=False))
        held = part.select(chosen)
        parts.append(replace(held, records=tuple(held)))
    seen = Splits(*parts)
    looked = sum(len(part) for _, part in seen.items())
    finding = Finding(
        "audit.sampled",
        "info",
        looked,
        f"Of {rows:,} rows, {looked:,} drawn at random were looked at for near copies, languages, "
        "outliers, tokens and wrong labels; their counts are of these rows. Everything else was "
        f"looked at in all rows, and near copies of up to {min(copies.HELD_OUT_ROWS, most):,} "
        "held-out rows too.",
        "Nothing needs doing; audit a part of the rows (FILE#100000) to look closer.",
    )
    return seen, [finding]


class _Tally:
    """Rows by label (entities by type, of tagged words), and by the number of their characters. It
    finds nothing."""

    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()
        self.sizes: Counter[int] = Counter()

    def see(self, batch: Batch) -> None:
        for record in batch.records:
            self.labels.update(record.entity_types if record.words else record.class_names)
        self.sizes.update(map(len, batch.texts))

    def findings(self, splits: Splits) -> Sequence[Finding]:
        return ()

    @property
    def characters(self) -> int:
        return sum(size * rows for size, rows in self.sizes.items())


def _as_seen(
    splits: Splits,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None,
    layout: str,
    truncation: Truncation,
    source_prefix: str,
    system: str,
) -> tuple[dict[str, Sequence[int]], list[Finding]]:
    """Tokens of each row, by part, and what is wrong with what would be trained."""
    if not splits.task.is_generative:
        return _plain_sizes(splits, tokenizer), []
    if tokenizer.eos_token_id is None:
        return _plain_sizes(splits, tokenizer), [template_audit.no_stop_token(splits)]
    limit = max_length or _NO_LIMIT
    renderer = Renderer(
        tokenizer, splits.task, limit, layout, source_prefix=source_prefix, system=system
    )
    findings = list(template_audit.check_template(splits, renderer))
    if any(finding.id == "template.stop" for finding in findings):
        return _plain_sizes(splits, tokenizer), findings  # such rows cannot be laid out
    examples = {name: renderer.tokenise(part) for name, part in splits.items()}
    kept = examples
    if truncation == "drop":
        kept = {name: [e for e in part if e.longest <= limit] for name, part in examples.items()}
    findings += template_audit.check_rendered(splits, renderer, kept, limit)
    return {
        name: _longest(part, len(splits_part))
        for (name, part), (_, splits_part) in zip(examples.items(), splits.items(), strict=True)
    }, findings


def _longest(examples: Sequence[Example], rows: int) -> list[int]:
    """Tokens of each row that `max_length` limits; of a row with several examples, the longest."""
    sizes = [0] * rows
    for example in examples:
        sizes[example.row] = max(sizes[example.row], example.longest)
    return sizes


def as_splits(data: Splits | Dataset) -> Splits:
    """One data set as parts, of which only train has rows."""
    if isinstance(data, Splits):
        return data
    empty = Dataset(data.task, (), data.name)
    return Splits(data, empty, empty)


def _plain_sizes(splits: Splits, tokenizer: PreTrainedTokenizerBase) -> dict[str, Sequence[int]]:
    """Tokens of the text of each row, by part."""
    found: dict[str, Sequence[int]] = {}
    for name, part in splits.items():
        sizes: list[int] = []
        for first in range(0, len(part), _BATCH):
            records = part.records[first : first + _BATCH]
            if splits.task is Task.EMBEDDING:
                sizes += (example.longest for example in paired_examples(tokenizer, records))
                continue
            paired = any(record.text_pair is not None for record in records)
            texts = [r.plain_text if r.messages or not paired else r.text for r in records]
            pairs = [record.text_pair or "" for record in records] if paired else None
            sizes += map(len, tokenizer(texts, pairs, verbose=False)["input_ids"])
        found[name] = sizes
    return found


def _lengths(sizes: Mapping[int, int], unit: str) -> dict[str, Any]:
    """What the lengths of rows are like; `sizes` has the rows of each length."""
    import numpy as np

    if not sizes:
        return {"unit": unit}
    values = np.array(sorted(sizes), dtype=np.int64)
    rows = np.array([sizes[size] for size in values.tolist()], dtype=np.int64)
    longest = int(values[-1])
    step = max(1, -(-longest // _BINS))
    edges = np.arange(0, longest + step + 1, step)
    counts, _ = np.histogram(values, bins=edges, weights=rows)
    return {
        "unit": unit,
        "min": int(values[0]),
        "median": int(_quantile(values, rows, 0.5)),
        "p95": int(_quantile(values, rows, 0.95)),
        "max": longest,
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _quantile(values: NDArray[np.int64], rows: NDArray[np.int64], share: float) -> float:
    """As `numpy.quantile` of all rows, between the two rows that are nearest."""
    import numpy as np

    behind = np.cumsum(rows)
    place = share * (behind[-1] - 1)
    low, high = values[np.searchsorted(behind, [int(place), -int(-place // 1)], side="right")]
    return float(low + (high - low) * (place % 1))
