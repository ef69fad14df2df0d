"""Rows of any task as instructions, by a prompt that the source states: text to text.

As T5 (arXiv 1910.10683, section 2.4) and FLAN (arXiv 2109.01652) put tasks into one model. This
module knows records. It does not know how sources are read or how many of their rows are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from string import Formatter
from typing import TYPE_CHECKING

from tunewright.config.data_keys import WeightedSource
from tunewright.config.source_name import short_name, shown
from tunewright.config.task import Task
from tunewright.data.convert import to_records
from tunewright.data.folders import Parts
from tunewright.data.records import Message, Record
from tunewright.data.row_store import StoredRows
from tunewright.data.table import Table
from tunewright.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from tunewright.data.detect import Detection

MIXED = "mixed_from"
"""The column that says which source of a mix a row is from."""
NO_LABEL, NO_ANSWER = "none", "unanswerable"
"""What is answered where a row has no label, and where a text has no answer."""
_EXAMPLES = {
    Task.CLASSIFICATION: "{text}\\nWhich of these is it: {options}?",
    Task.MULTILABEL: "{text}\\nWhich of these fit: {options}?",
    Task.REGRESSION: "{text}\\nRate this from 0 to 5.",
    Task.QUESTION_ANSWERING: "{context}\\n{question}",
}
"""Tasks whose rows can become instructions, each with a prompt to begin from."""


def mix_names(sources: Sequence[WeightedSource]) -> list[str]:
    """What each source of a mix is called in scores.

    Raises:
        DataError: two have one name.
    """
    names = [one.name or short_name(one.source) for one in sources]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            f"Two sources of the mix are called {twice!r}, so that their scores could not be told "
            "apart. Give each a name, such as {source: ..., name: sentiment}."
        )
    return names


def described(
    parts: Parts, one: WeightedSource, name: str | None, find: Callable[[Table], Detection]
) -> Parts:
    """The tables of a source in Tunewright's own columns, as instructions where it has a prompt.

    Args:
        parts: of the source.
        one: its description.
        name: what its rows are marked with, or None.
        find: what the columns of a table mean.

    Raises:
        DataError: the prompt does not fit the task, or the rows are not in memory.
    """
    made = Parts(exact=parts.exact, named=parts.named)
    read: list[tuple[str, Table, Task, Sequence[Record]]] = []
    for part, tables in parts.tables.items():
        for table in tables:
            if isinstance(table.rows, StoredRows):
                raise DataError(
                    f"{table.source} stays on disk, and rows that a prompt, a name or columns of "
                    f"their own are given to are held in memory. Draw some: {table.source}#100000."
                )
            found = find(table)
            read.append((part, table, found.task, to_records(table, found)))
    classes = {name for _, _, _, records in read for r in records for name in r.class_names}
    options = ", ".join(sorted(classes))
    for part, table, task, records in read:
        if one.prompt:
            check_prompt(one.prompt, task, shown(one.source), _has_pairs(records))
            records = [as_instruction(r, task, one.prompt, options) for r in records]
            task = Task.INSTRUCTION
        mark = {} if name is None else {MIXED: name}
        rows = [record.to_row() | mark for record in records]
        numbers = [record.row for record in records]
        made.add(part, Table(table.source, rows, numbers, task=task.value))
    return made


def check_prompt(prompt: str, task: Task, source: str, pairs: bool = False) -> None:
    """Refuse a prompt that cannot be filled from rows of a task, or leaves their texts out.

    Args:
        prompt: with names in braces.
        task: of the rows.
        source: of the rows, for messages.
        pairs: whether labelled rows have two texts.

    Raises:
        DataError: says which names there are.
    """
    if task not in _EXAMPLES:
        raise DataError(
            f"{source} is for {task.value}, whose rows take no prompt. A prompt is for "
            f"{', '.join(_EXAMPLES)}" + ("; leave it out." if task is Task.INSTRUCTION else ".")
        )
    texts = ["text", "text_pair"] if pairs else ["text"]
    if task is Task.QUESTION_ANSWERING:
        texts = ["question", "context"]
    known = [*texts, *(["options"] if task in (Task.CLASSIFICATION, Task.MULTILABEL) else [])]
    try:
        used = [name for _, name, _, _ in Formatter().parse(prompt) if name is not None]
    except ValueError as error:
        raise DataError(
            f"The prompt of {source} cannot be read: {error}. Write a brace that is no name twice: "
            "{{ or }}."
        ) from error
    listed = ", ".join(f"{{{name}}}" for name in known)
    for name in used:
        if name not in known:
            raise DataError(
                f"The prompt of {source} has {{{name}}}, which rows of task {task.value} do not "
                f"have.{did_you_mean(name, known)} They have {listed}."
            )
    for name in texts:
        if name not in used:
            raise DataError(
                f"The prompt of {source} lacks {{{name}}}, so that no answer could follow from it. "
                f"Such as: prompt: {_EXAMPLES[task]!r}. Rows have {listed}."
            )


def as_instruction(record: Record, task: Task, prompt: str, options: str) -> Record:
    """A row as a prompt and its answer, with the columns that the task does not use."""
    values = {"text": record.text, "text_pair": record.text_pair or "", "options": options}
    if task is Task.QUESTION_ANSWERING:
        values = {"question": record.text, "context": record.text_pair or ""}
    asked = Message("user", prompt.format(**values))
    answer = Message("assistant", answer_text(record), train=True)
    return replace(record, text="", text_pair=None, label=None, answers=None,
                   messages=(asked, answer))  # fmt: skip


def answer_text(record: Record) -> str:
    """What is written for a row: its label, labels behind each other, its number, its answer."""
    if record.answers is not None:
        return record.answers[0].text if record.answers else NO_ANSWER
    if isinstance(record.label, tuple):
        return ", ".join(record.label) or NO_LABEL
    return record.label if isinstance(record.label, str) else f"{record.label:g}"


def mixed_names(records: Sequence[Record]) -> list[str]:
    """[n] the name of the source of each row; empty where not two sources are told apart."""
    names = [str(record.meta.get(MIXED) or "") for record in records]
    return names if len(set(names)) > 1 else []


def rows_by_name(names: Sequence[str]) -> dict[str, list[int]]:
    """The rows of each source, by name, sorted."""
    found: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        found.setdefault(name, []).append(row)
    return {name: found[name] for name in sorted(found)}


def _has_pairs(records: Sequence[Record]) -> bool:
    return any(record.text_pair is not None for record in records)
