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
from tunewright.data.labelled_columns import (
    by_content,
    classification,
    flagged,
    labelled,
    listed_columns,
    multilabel_asked,
    regression,
)
from tunewright.data.paired_columns import answered, asked_pairs, named_pairs, pointed_at
from tunewright.data.table import Table
from tunewright.data.tags import Scheme
from tunewright.data.unsupported import refuse_unsupported
from tunewright.data.values import as_number, cell, is_conversation, parsed_list
from tunewright.errors import DataError, did_you_mean, unknown_name

SAMPLE = 2000
"""Rows looked at."""

_GENERATIVE = {"prompt", "completion", "input", "reasoning", "system", "messages"}


@dataclass(frozen=True, slots=True)
class Detection:
    """What the columns mean.

    Attributes:
        task: what the rows are for.
        columns: role to column.
        reason: one sentence for people.
        instruction: words put before the prompt, where the columns imply them.
        flags: columns of 0 and 1, each of which is a label; `columns` names them in one text.
        tag_scheme: of tagged words; found when all rows are read.
    """

    task: Task
    columns: dict[str, str]
    reason: str
    instruction: str = ""
    flags: tuple[str, ...] = ()
    tag_scheme: Scheme | None = None


def detect(
    table: Table, *, task: Task | str = "auto", columns: Mapping[str, str] | None = None
) -> Detection:
    """Find the task and the role of each column.

    Args:
        table: the rows; the first 2,000 are looked at.
        task: `auto`, or a task the columns must fit.
        columns: role to column, for what is named unusually. The rest is detected. A value inside
            a column of objects is `COLUMN.KEY`; columns of 0 and 1, each of which is a label, are
            `labels: "COLUMN, COLUMN"`. Roles: text, text_pair, negative, answers, answer_start,
            label, labels, tokens, tags, prompt, input, reasoning, completion, system, messages,
            group.

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

    @property
    def sampled(self) -> int:
        """Rows looked at."""
        return min(len(self.table), SAMPLE)

    def values(self, column: str) -> list[Any]:
        """Values of the sample that are there."""
        values = (cell(row, column) for row in self.table.rows[:SAMPLE])
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


_FINDERS: dict[Task, Callable[[_Search], Detection | None]] = {
    Task.CLASSIFICATION: lambda s: classification(s) or by_content(s),
    Task.MULTILABEL: lambda s: multilabel_asked(s) or flagged(s),
    Task.REGRESSION: regression,
    Task.TOKEN_CLASSIFICATION: _tagged,
    Task.EMBEDDING: asked_pairs,
    Task.QUESTION_ANSWERING: answered,
    Task.INSTRUCTION: _instruction,
    Task.TEXT: _plain,
}
_NEEDS = {
    Task.CLASSIFICATION: "a column with text and one with a label",
    Task.MULTILABEL: "a column with text, and one with a list of labels or several of 0 and 1",
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
        return [labelled]
    if "text" in fixed:
        return [labelled, _plain]
    return [_chat, _tagged, named_pairs, pointed_at, _refuse, *_OTHERS]


_OTHERS = (_prompted, _summary, labelled, flagged, by_content, _plain)


def _refuse(search: _Search) -> None:
    refuse_unsupported(search.table.source, search.by_name)


def _checked_mapping(table: Table, columns: Mapping[str, str]) -> dict[str, str]:
    fixed: dict[str, str] = {}
    for name, column in columns.items():
        role = names.ROLE_SYNONYMS.get(name, name)
        if role not in names.ROLES:
            raise DataError(unknown_name("role", name, names.ROLES))
        flags = listed_columns(column, table.columns) if role == "labels" else ()
        if column not in table.columns and not flags and not _is_inner(table, column):
            raise DataError(
                f"{table.source} has no column {column!r} for {name}."
                f"{did_you_mean(column, table.columns)} {_have(table)}"
            )
        fixed[role] = column
    return fixed


def _is_inner(table: Table, column: str) -> bool:
    """Whether objects in the rows have something at `COLUMN.KEY`."""
    return any(cell(row, column) is not None for row in table.rows[:SAMPLE])


def _have(table: Table) -> str:
    """The columns, and what the objects in the first row have in them."""
    first: Mapping[str, Any] = next(iter(table.rows), {})
    inner = [
        f"{column}.{key}"
        for column, value in first.items()
        if isinstance(value, Mapping)
        for key in value
    ]
    have = f"It has the columns {', '.join(map(repr, table.columns))}"
    return f"{have}, in them {', '.join(map(repr, inner))}." if inner else f"{have}."
