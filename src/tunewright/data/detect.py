"""What a table is for: its task, and which column plays which role.

Decided from column names and a sample of values, so that no data set needs registering. This
module knows the names and shapes in use. It does not know files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunewright.config.task import Task
from tunewright.data import column_names as names
from tunewright.data.paired_columns import answered, asked_pairs, named_pairs, pointed_at
from tunewright.data.table import Table
from tunewright.data.tags import Scheme
from tunewright.data.unsupported import refuse_unsupported
from tunewright.data.values import as_number, is_conversation, parsed_list
from tunewright.errors import DataError, did_you_mean, unknown_name

SAMPLE = 2000
"""Rows looked at."""

_GENERATIVE = {"prompt", "completion", "input", "reasoning", "system", "messages"}
_CLASSES_AT_MOST = 10
"""A score with at most this many different whole numbers is taken for classes."""


@dataclass(frozen=True, slots=True)
class Detection:
    """What the columns mean.

    Attributes:
        task: what the rows are for.
        columns: role to column.
        reason: one sentence for people.
        instruction: words put before the prompt, where the columns imply them.
        tag_scheme: of tagged words; found when all rows are read.
    """

    task: Task
    columns: dict[str, str]
    reason: str
    instruction: str = ""
    tag_scheme: Scheme | None = None


def detect(
    table: Table, *, task: Task | str = "auto", columns: Mapping[str, str] | None = None
) -> Detection:
    """Find the task and the role of each column.

    Args:
        table: the rows; the first 2,000 are looked at.
        task: `auto`, or a task the columns must fit.
        columns: role to column, for what is named unusually. The rest is detected. Roles: text,
            text_pair, negative, answers, answer_start, label, labels, tokens, tags, prompt, input,
            reasoning, completion, system, messages, group.

    Raises:
        DataError: a mapped column is not there, or the columns fit no task; lists what is there.
    """
    wanted = None if str(task) == "auto" else parse_task(task)
    search = _Search(table, _checked_mapping(table, columns or {}))
    if wanted is not None:
        found = _FINDERS[wanted](search)
        if found is None:
            raise DataError(
                f"{table.source} does not fit task {wanted.value!r}, which needs "
                f"{_NEEDS[wanted]}. {_have(table)} Map them by hand, for example "
                f"columns={{{_EXAMPLES[wanted]}}}."
            )
        return found
    for find in _order(search.fixed):
        found = find(search)
        if found is not None:
            return found
    refuse_unsupported(table.source, search.by_name)
    raise DataError(
        f"It is not clear what the rows of {table.source} are for. {_have(table)} Say which column "
        "is what, for example columns={text: COLUMN, label: COLUMN} or "
        "columns={prompt: COLUMN, completion: COLUMN}."
    )


def parse_task(task: Task | str) -> Task:
    """The task of that name.

    Raises:
        DataError: there is none; names the close match.
    """
    try:
        return Task(str(task).lower())
    except ValueError as error:
        raise DataError(unknown_name("task", str(task), [t.value for t in Task])) from error


@dataclass
class _Search:
    """Finds columns by role: mapped by hand first, then by name."""

    table: Table
    fixed: dict[str, str]
    by_name: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.by_name = names.by_plain_name(self.table.columns)

    def named(
        self, role: str, names: Sequence[str], taken: Sequence[str | None] = ()
    ) -> str | None:
        """The column of a role: as mapped, else the first of `names` that is there and free."""
        if role in self.fixed:
            return self.fixed[role]
        used = {*self.fixed.values(), *(t for t in taken if t)}
        for name in names:
            column = self.by_name.get(name)
            if column is not None and column not in used:
                return column
        return None

    def values(self, column: str) -> list[Any]:
        """Values of the sample that are there."""
        values = (row.get(column) for row in self.table.rows[:SAMPLE])
        return [value for value in values if value is not None and value != ""]

    def is_text(self, column: str) -> bool:
        values = self.values(column)
        return not values or sum(isinstance(v, str) for v in values) * 2 > len(values)

    def is_numeric(self, column: str) -> bool:
        """Numbers only, and not class numbers that the file has names for."""
        values = self.values(column)
        return (
            bool(values)
            and column not in self.table.classes
            and all(as_number(v) is not None for v in values)
        )

    def is_list(self, column: str) -> bool:
        values = self.values(column)
        return bool(values) and all(parsed_list(value) is not None for value in values)

    def found(
        self, task: Task, roles: Mapping[str, str | None], instruction: str = ""
    ) -> Detection:
        columns = {role: column for role, column in roles.items() if column}
        if "group" in self.fixed:
            columns["group"] = self.fixed["group"]
        listed = ", ".join(f"{role} from {column!r}" for role, column in columns.items())
        return Detection(task, columns, f"{task.value}: {listed}", instruction)


def _texts(search: _Search, target: str | None) -> tuple[str | None, str | None]:
    """The text column, and that of its pair where there is one."""
    taken = (target,)
    if "text_pair" in search.fixed or "text" not in search.fixed:
        for first, second in names.PAIRS:
            if first != "text" and "text" in search.by_name:
                break  # a plain `text` column wins over pairs of other names
            text = search.named("text", (first,), taken)
            pair = search.named("text_pair", (second,), (*taken, text))
            if text and pair and search.is_text(text) and search.is_text(pair):
                return text, pair
    for name in names.TEXT:
        text = search.named("text", (name,), taken)
        if text and ("text" in search.fixed or search.is_text(text)):
            return text, None
    return None, None


def _labelled(search: _Search) -> Detection | None:
    """Any of the three tasks with a target; the values of the target decide which."""
    if "labels" in search.fixed:
        return _multilabel(search)
    for find in (_multilabel, _fractional_label, _classification, _scored):
        found = find(search)
        if found is not None:
            return found
    return None


def _multilabel(search: _Search) -> Detection | None:
    target = search.fixed.get("labels") or search.fixed.get("label")
    candidates = [target] if target else [search.named("labels", (name,)) for name in names.LABELS]
    for column in candidates:
        if column is None:
            continue
        if search.is_list(column) or "labels" in search.fixed:
            text, pair = _texts(search, column)
            if text:
                return search.found(
                    Task.MULTILABEL, {"text": text, "text_pair": pair, "labels": column}
                )
    return None


def _multilabel_asked(search: _Search) -> Detection | None:
    """As `_multilabel`, and also text that lists the labels with separators."""
    found = _multilabel(search)
    column = search.named("labels", names.LABELS)
    if found is None and column is not None:
        text, pair = _texts(search, column)
        if text:
            return search.found(
                Task.MULTILABEL, {"text": text, "text_pair": pair, "labels": column}
            )
    return found


def _fractional_label(search: _Search) -> Detection | None:
    """A column named like a label whose numbers are not all whole is a number to predict."""
    column = search.named("label", names.LABEL)
    if column is None or not search.is_numeric(column) or not _has_fractions(search, column):
        return None
    return _with_target(search, Task.REGRESSION, column)


def _classification(search: _Search) -> Detection | None:
    column = search.named("label", names.LABEL)
    if column is None or search.is_list(column):
        return None
    return _with_target(search, Task.CLASSIFICATION, column)


def _scored(search: _Search) -> Detection | None:
    """A column named like a score: few whole numbers are classes, anything else a number."""
    for name in names.NUMBER:
        column = search.named("label", (name,))
        if column is None or not search.is_numeric(column):
            continue
        different = {as_number(value) for value in search.values(column)}
        whole = not _has_fractions(search, column)
        if whole and len(different) <= _CLASSES_AT_MOST:
            found = _with_target(search, Task.CLASSIFICATION, column)
            note = f" ({len(different)} whole numbers taken for classes; task=regression predicts "
            note += "them as numbers)"
            return found and Detection(found.task, found.columns, found.reason + note)
        return _with_target(search, Task.REGRESSION, column)
    return None


def _regression(search: _Search) -> Detection | None:
    for name in names.NUMBER:
        column = search.named("label", (name,))
        if column is not None and search.is_numeric(column):
            return _with_target(search, Task.REGRESSION, column)
    return None


def _with_target(search: _Search, task: Task, column: str) -> Detection | None:
    text, pair = _texts(search, column)
    if text is None:
        return None
    return search.found(task, {"text": text, "text_pair": pair, "label": column})


def _has_fractions(search: _Search, column: str) -> bool:
    return any((as_number(v) or 0.0) % 1 != 0 for v in search.values(column))


def _tagged(search: _Search) -> Detection | None:
    """A list of words and, in another column, a list of their tags."""
    tokens = search.named("tokens", names.TOKENS)
    tags = search.named("tags", names.TAGS, (tokens,))
    if tokens is None or tags is None or not search.is_list(tokens) or not search.is_list(tags):
        return None
    return search.found(Task.TOKEN_CLASSIFICATION, {"tokens": tokens, "tags": tags})


def _chat(search: _Search) -> Detection | None:
    if "prompt" in search.fixed or "completion" in search.fixed:
        return None
    column = search.named("messages", [n for n in names.MESSAGES if _talks(search, n)])
    if column is None:
        return None
    system = search.named("system", names.SYSTEM, (column,))
    return search.found(Task.INSTRUCTION, {"system": system, "messages": column})


def _talks(search: _Search, name: str) -> bool:
    column = search.by_name.get(name)
    values = search.values(column)[:50] if column else []
    return bool(values) and all(is_conversation(value) for value in values)


def _prompted(search: _Search) -> Detection | None:
    for prompt_name, completion_name, inputs in names.PROMPTED:
        prompt = search.named("prompt", (prompt_name,))
        completion = search.named("completion", (completion_name,), (prompt,))
        if prompt and completion:
            further = search.named("input", inputs, (prompt, completion))
            taken = (prompt, completion, further)
            system = search.named("system", names.SYSTEM, taken)
            reasoning = search.named("reasoning", names.REASONING, taken)
            if reasoning and "reasoning" not in search.fixed and not search.is_text(reasoning):
                reasoning = None
            roles = {"system": system, "prompt": prompt, "input": further}
            return search.found(
                Task.INSTRUCTION, roles | {"reasoning": reasoning, "completion": completion}
            )
    return None


def _summary(search: _Search) -> Detection | None:
    for document, summary in names.SUMMARIES:
        prompt = search.named("prompt", (document,))
        completion = search.named("completion", (summary,), (prompt,))
        if prompt and completion:
            roles = {"prompt": prompt, "completion": completion}
            return search.found(Task.INSTRUCTION, roles, "Summarize this text:")
    return None


def _instruction(search: _Search) -> Detection | None:
    return _chat(search) or _prompted(search) or _summary(search)


def _plain(search: _Search) -> Detection | None:
    text = search.named("text", names.TEXT)
    if text is None and len(search.table.columns) == 1:
        text = search.table.columns[0]
    if text is None or not search.is_text(text):
        return None
    return search.found(Task.TEXT, {"text": text})


def _by_content(search: _Search) -> Detection | None:
    """One column of sentences and one of few values, whatever their names."""
    if search.fixed.keys() - {"group"}:
        return None
    sentences, classes = [], []
    for column in search.table.columns:
        values = search.values(column)
        if any(isinstance(v, list) for v in values):
            return None  # choices, turns, tokens: no plain classes
        if len(values) < 4 or any(isinstance(v, list | dict | float) for v in values):
            continue
        words = [str(value) for value in values]
        different = len(set(words))
        if sum(map(len, words)) / len(words) >= 15 and different * 2 > len(words):
            sentences.append(column)
        elif 2 <= different <= min(100, len(words) // 2):
            classes.append(column)
    if len(sentences) == 1 and len(classes) == 1:
        found = search.found(Task.CLASSIFICATION, {"text": sentences[0], "label": classes[0]})
        return Detection(found.task, found.columns, found.reason + " (guessed from the values)")
    return None


_FINDERS: dict[Task, Callable[[_Search], Detection | None]] = {
    Task.CLASSIFICATION: lambda s: _classification(s) or _by_content(s),
    Task.MULTILABEL: _multilabel_asked,
    Task.REGRESSION: _regression,
    Task.TOKEN_CLASSIFICATION: _tagged,
    Task.EMBEDDING: asked_pairs,
    Task.QUESTION_ANSWERING: answered,
    Task.INSTRUCTION: _instruction,
    Task.TEXT: _plain,
}
_NEEDS = {
    Task.CLASSIFICATION: "a column with text and one with a label",
    Task.MULTILABEL: "a column with text and one with a list of labels",
    Task.REGRESSION: "a column with text and one with numbers",
    Task.TOKEN_CLASSIFICATION: "a column with a list of words and one with a list of their tags",
    Task.EMBEDDING: "two columns of texts that belong together, such as anchor and positive, or "
    "two columns of texts and a number that says how alike they are",
    Task.QUESTION_ANSWERING: "a question, a context, and answers in it (answers, or answer and "
    "answer_start)",
    Task.INSTRUCTION: "a prompt and a completion, or a list of messages",
    Task.TEXT: "a column with text",
}
_EXAMPLES = {
    Task.CLASSIFICATION: "text: COLUMN, label: COLUMN",
    Task.MULTILABEL: "text: COLUMN, labels: COLUMN",
    Task.REGRESSION: "text: COLUMN, label: COLUMN",
    Task.TOKEN_CLASSIFICATION: "tokens: COLUMN, tags: COLUMN",
    Task.EMBEDDING: "text: COLUMN, text_pair: COLUMN",
    Task.QUESTION_ANSWERING: "text: COLUMN, text_pair: COLUMN, answers: COLUMN",
    Task.INSTRUCTION: "prompt: COLUMN, completion: COLUMN",
    Task.TEXT: "text: COLUMN",
}


def _order(fixed: Mapping[str, str]) -> list[Callable[[_Search], Detection | None]]:
    """The finders to try, in order; a mapped role rules the others out."""
    if fixed.keys() & {"answers", "answer_start"}:
        return [answered]
    if fixed.keys() & _GENERATIVE:
        return [_instruction]
    if fixed.keys() & {"tokens", "tags"}:
        return [_tagged]
    if "negative" in fixed:
        return [asked_pairs]
    if fixed.keys() & {"label", "labels", "text_pair"}:
        return [_labelled]
    if "text" in fixed:
        return [_labelled, _plain]
    return [_chat, _tagged, named_pairs, pointed_at, _refuse, *_OTHERS]


_OTHERS = (_prompted, _summary, _labelled, _by_content, _plain)


def _refuse(search: _Search) -> None:
    refuse_unsupported(search.table.source, search.by_name)


def _checked_mapping(table: Table, columns: Mapping[str, str]) -> dict[str, str]:
    fixed: dict[str, str] = {}
    for name, column in columns.items():
        role = names.ROLE_SYNONYMS.get(name, name)
        if role not in names.ROLES:
            raise DataError(unknown_name("role", name, names.ROLES))
        if column not in table.columns:
            raise DataError(
                f"{table.source} has no column {column!r} for {name}."
                f"{did_you_mean(column, table.columns)} {_have(table)}"
            )
        fixed[role] = column
    return fixed


def _have(table: Table) -> str:
    return f"It has the columns {', '.join(map(repr, table.columns))}."
