"""Rows become records, by the roles that were detected. A row that does not fit is an error."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from tunewright.data.answer_places import read_answers
from tunewright.data.detect import Detection
from tunewright.data.records import Label, Message, Record, Task
from tunewright.data.row_store import StoredRecords, StoredRows
from tunewright.data.table import Table
from tunewright.data.tags import Scheme, TagFault, find_scheme, to_bio
from tunewright.data.values import as_flag, as_number, cell, is_conversation, parsed_list
from tunewright.errors import DataError

_ROLE_NAMES = {
    "human": "user", "user": "user", "prompter": "user", "customer": "user",
    "gpt": "assistant", "assistant": "assistant", "model": "assistant", "bot": "assistant",
    "chatgpt": "assistant", "bing": "assistant", "bard": "assistant",
    "system": "system", "developer": "system",
    "tool": "tool", "function": "tool", "observation": "tool", "ipython": "tool",
}  # fmt: skip
_OWN_FIELDS = (
    "text",
    "text_pair",
    "label",
    "labels",
    "messages",
    "tokens",
    "tags",
    "negative",
    "answers",
)
_SHOWN_FAULTS = 3
ANSWER_MARKER = "Answer: "
"""What stands before the answer where reasoning leads to it."""


_HALF = re.compile("[\ud800-\udfff]")


class _RowFault(Exception):  # noqa: N818 - private, always turned into a DataError
    """One row that does not fit; the message says why."""


def to_records(table: Table, detection: Detection) -> Sequence[Record]:
    """Turn every row into a record; none is left out. Those of stored rows stay on disk.

    Columns without a role go to `meta`. One that has the name of a record's own field is kept
    there as `NAME_column`.

    Raises:
        DataError: rows do not fit the task: how many, the first three and what is wrong with them.
    """
    if detection.task is Task.TOKEN_CLASSIFICATION:
        detection = replace(detection, tag_scheme=_scheme_of(table, detection))
    make = partial(_record, detection=detection, table=replace(table, rows=(), numbers=()))
    records = []
    count = 0
    faults = []
    stored = isinstance(table.rows, StoredRows)
    for index, row in enumerate(table.rows):
        try:
            record = make(row, table.number(index))
        except _RowFault as fault:
            count += 1
            if count <= _SHOWN_FAULTS:
                faults.append(f"row {table.number(index)}: {fault}")
            continue
        if not stored:
            records.append(record)
    if faults:
        more = f" and {count - _SHOWN_FAULTS:,} more" if count > _SHOWN_FAULTS else ""
        rows = "1 row does" if count == 1 else f"{count:,} rows do"
        raise DataError(
            f"{rows} not fit task {detection.task.value!r} in {table.source}: "
            f"{'; '.join(faults)}{more}. Correct them, take them out, or map other "
            "columns (data.columns)."
        )
    return StoredRecords(table.rows, make) if isinstance(table.rows, StoredRows) else records


def _record(row: Mapping[str, Any], number: int, detection: Detection, table: Table) -> Record:
    """One row as a record; `table` says where it is from, and what its class numbers mean."""
    columns = detection.columns
    if inner := [column for column in columns.values() if "." in column and column not in row]:
        row = {**row, **{column: cell(row, column) for column in inner}}
    made = _CONVERTERS[detection.task](row, detection, table)
    used = {*columns.values(), *detection.flags}
    meta = {}
    for key, value in row.items():
        if value is not None and key not in used:
            meta[f"{key}_column" if key in _OWN_FIELDS else key] = value
    if "group" in columns and (group := row.get(columns["group"])) is not None:
        meta["group"] = group
    answers = row.get(columns["completion"]) if "completion" in columns else None
    if isinstance(answers, list) and not is_conversation(answers):
        meta["references"] = answers
    return Record(**made, source=table.source, row=number, meta=meta)


def _text_row(row: Mapping[str, Any], detection: Detection, table: Table) -> dict[str, Any]:
    return {"text": _text(row, detection.columns["text"])}


def _labelled_row(row: Mapping[str, Any], detection: Detection, table: Table) -> dict[str, Any]:
    made: dict[str, Any] = _text_row(row, detection, table)
    if "text_pair" in detection.columns:
        made["text_pair"] = _text(row, detection.columns["text_pair"])
    made["label"] = _TARGETS[detection.task](row, detection, table)
    return made


def _class_name(row: Mapping[str, Any], detection: Detection, table: Table) -> Label:
    column = detection.columns["label"]
    value = row.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise _RowFault(f"column {column!r} has no label")
    return _one_class(value, column, table)


def _one_class(value: Any, column: str, table: Table) -> str:
    if isinstance(value, str):
        return value.strip()
    names = table.classes.get(column)
    if names and isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < len(names):
            raise _RowFault(f"column {column!r} has {value}, outside the {len(names)} class names")
        return names[value]
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float):
        return str(value)
    raise _RowFault(f"column {column!r} has {_kind(value)} where a label is expected")


def _class_names(row: Mapping[str, Any], detection: Detection, table: Table) -> Label:
    if detection.flags:
        return tuple(flag for flag in detection.flags if _is_set(row, flag))
    column = detection.columns["labels"]
    value = row.get(column)
    listed = parsed_list(value)
    if listed is None:
        if value is None:
            raise _RowFault(f"column {column!r} has no list of labels")
        if not isinstance(value, str):
            raise _RowFault(f"column {column!r} has {_kind(value)} where a list is expected")
        separator = next((s for s in "|;," if s in value), ",")
        listed = [part.strip() for part in value.split(separator) if part.strip()]
    found = [_one_class(item, column, table) for item in listed]
    return tuple(dict.fromkeys(found))


def _is_set(row: Mapping[str, Any], flag: str) -> bool:
    found = as_flag(row.get(flag))
    if found is None:
        raise _RowFault(f"column {flag!r} has {row.get(flag)!r} where 0 or 1 is expected")
    return found


def _tagged_row(row: Mapping[str, Any], detection: Detection, table: Table) -> dict[str, Any]:
    words = _list_of_text(row, detection.columns["tokens"])
    tags = _tags(row, detection, table)
    if not words:
        raise _RowFault(f"column {detection.columns['tokens']!r} has no word")
    if len(words) != len(tags):
        raise _RowFault(f"it has {len(words)} words and {len(tags)} tags; each word needs one tag")
    assert detection.tag_scheme is not None, "to_records has looked for it"
    try:
        bio = to_bio(tags, detection.tag_scheme)
    except TagFault as fault:
        raise _RowFault(str(fault)) from fault
    return {"text": " ".join(words), "words": tuple(words), "label": bio}


def _scheme_of(table: Table, detection: Detection) -> Scheme:
    """The scheme of all tags of a table; what is no tag is refused row by row, later."""

    def readable() -> Iterator[list[str]]:
        for row in table.rows:
            try:
                yield _tags(row, detection, table)
            except _RowFault:
                continue

    return find_scheme(readable())


def _tags(row: Mapping[str, Any], detection: Detection, table: Table) -> list[str]:
    column = detection.columns["tags"]
    listed = parsed_list(row.get(column)) or []
    if column not in table.classes and any(isinstance(tag, int) for tag in listed):
        raise _RowFault(
            f"column {column!r} has numbers ({_first_few(listed)}), and the file does not say "
            "which tags they are; write the tags themselves, as in O, B-PER, I-PER"
        )
    return [_one_class(tag, column, table) for tag in listed]


def _embedding_row(row: Mapping[str, Any], detection: Detection, table: Table) -> dict[str, Any]:
    columns = detection.columns
    made: dict[str, Any] = _text_row(row, detection, table)
    made["text_pair"] = _text(row, columns["text_pair"])
    if "negative" in columns and (text := _text(row, columns["negative"])).strip():
        made["negative"] = text
    if "label" in columns:
        if "negative" in made:
            raise _RowFault(
                f"it has a negative (column {columns['negative']!r}) and a score (column "
                f"{columns['label']!r}); a pair has one of them at most"
            )
        made["label"] = _number(row, detection, table)
    return made


def _answered_row(row: Mapping[str, Any], detection: Detection, table: Table) -> dict[str, Any]:
    columns = detection.columns
    made: dict[str, Any] = _text_row(row, detection, table)
    made["text_pair"] = _text(row, columns["text_pair"])
    start = row.get(columns["answer_start"]) if "answer_start" in columns else None
    try:
        made["answers"] = read_answers(row.get(columns["answers"]), start)
    except ValueError as error:
        raise _RowFault(f"column {columns['answers']!r} cannot be read: {error}") from error
    return made


def _list_of_text(row: Mapping[str, Any], column: str) -> list[str]:
    listed = parsed_list(row.get(column))
    if listed is None or not all(isinstance(item, str | int | float) for item in listed):
        raise _RowFault(f"column {column!r} has {_kind(row.get(column))}, not a list of words")
    return [_whole(str(item)) for item in listed]


def _first_few(items: Sequence[Any]) -> str:
    """The first few items, for a message."""
    return ", ".join(map(str, items[:4])) + (", ..." if len(items) > 4 else "")


def _number(row: Mapping[str, Any], detection: Detection, table: Table) -> Label:
    column = detection.columns["label"]
    number = as_number(row.get(column))
    if number is None or not math.isfinite(number):
        raise _RowFault(f"column {column!r} has {row.get(column)!r}, which is not a number")
    return number


def _instruction_row(row: Mapping[str, Any], detection: Detection, table: Table) -> dict[str, Any]:
    columns = detection.columns
    if "messages" in columns:
        messages = _conversation(row.get(columns["messages"]), columns["messages"])
    elif is_conversation(row.get(columns["prompt"])) or is_conversation(
        row.get(columns["completion"])
    ):
        messages = _joined_conversation(row, columns)
    else:
        messages = [
            Message("user", _prompt(row, detection)),
            Message("assistant", _reasoned(row, columns), train=True),
        ]
    system = _text(row, columns["system"]) if "system" in columns else ""
    if system.strip() and messages[0].role != "system":
        messages.insert(0, Message("system", system))
    if not any(message.train for message in messages):
        raise _RowFault("the conversation has no assistant turn to learn from")
    return {"messages": tuple(messages)}


def _reasoned(row: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """The answer; where there is a column of reasoning, behind that and a blank line."""
    answer = _answer(row, columns["completion"])
    if "reasoning" not in columns:
        return answer
    reasoning = _text(row, columns["reasoning"]).strip()
    last = f"{ANSWER_MARKER}{answer}"
    return f"{reasoning}\n\n{last}" if reasoning else last


def _answer(row: Mapping[str, Any], column: str) -> str:
    """The text to learn; of a list of equally good texts the first, the rest stay in `meta`."""
    value = row.get(column)
    if isinstance(value, list) and value and all(isinstance(text, str) for text in value):
        return _whole(value[0])
    return _text(row, column)


def _prompt(row: Mapping[str, Any], detection: Detection) -> str:
    """What the user says: instruction, then the input behind a blank line."""
    parts = [detection.instruction, _text(row, detection.columns["prompt"])]
    if "input" in detection.columns:
        parts.append(_text(row, detection.columns["input"]))
    return "\n\n".join(part for part in parts if part.strip())


def _joined_conversation(row: Mapping[str, Any], columns: Mapping[str, str]) -> list[Message]:
    """Prompt and completion, either of which may be a list of turns; only the latter trains."""
    messages: list[Message] = []
    for role, speaker in (("prompt", "user"), ("completion", "assistant")):
        value = row.get(columns[role])
        trains = role == "completion"
        if is_conversation(value):
            turns = _conversation(value, columns[role])
            if trains and "reasoning" in columns:
                raise _RowFault(
                    f"reasoning (column {columns['reasoning']!r}) goes before an answer that is "
                    "text, not before turns"
                )
        else:
            said = _reasoned(row, columns) if trains else _text(row, columns[role])
            turns = [Message(speaker, said)]
        messages += [
            Message(t.role, t.content, train=trains and t.role == "assistant") for t in turns
        ]
    return messages


def _conversation(value: Any, column: str) -> list[Message]:
    if not is_conversation(value):
        raise _RowFault(
            f"column {column!r} has {_kind(value)} where a list of turns is expected, each with "
            "role and content (or from and value)"
        )
    return [_message(turn) for turn in parsed_list(value) or ()]


def _message(turn: Mapping[str, Any]) -> Message:
    said = turn["role"] if "role" in turn else turn["from"]
    role = _ROLE_NAMES.get(str(said).lower())
    if role is None:
        raise _RowFault(f"unknown role {said!r} (known: {', '.join(sorted(set(_ROLE_NAMES)))})")
    content = turn["content"] if "content" in turn else turn["value"]
    if isinstance(content, list):  # parts, as chat services write them
        parts = [p.get("text") if isinstance(p, Mapping) else p for p in content]
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) < len(parts):
            raise _RowFault("a turn has parts that are not text")
        content = "".join(texts)
    if turn.get("tool_calls"):
        raise _RowFault("a turn calls a tool, which is not supported yet")
    if content is None:
        content = ""
    if not isinstance(content, str):
        raise _RowFault(f"the content of a turn is {_kind(content)}, not text")
    flags = [turn[key] for key in ("train", "weight") if turn.get(key) is not None]
    trains = not flags or flags[0] not in (False, 0)
    return Message(role, _whole(content), train=role == "assistant" and trains)


def _text(row: Mapping[str, Any], column: str) -> str:
    """The text in a column; nothing at all is an empty text, which the audit reports."""
    value = row.get(column)
    if value is None:
        return ""
    if isinstance(value, str):
        return _whole(value)
    if isinstance(value, bool | int | float):
        return str(value)
    raise _RowFault(f"column {column!r} has {_kind(value)} where text is expected")


def _whole(text: str) -> str:
    """Join split surrogate pairs; a lone half, which no file can hold, becomes U+FFFD."""
    if text.isascii() or not _HALF.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "true/false",
        type(None): "nothing",
    }
    return names.get(type(value), "a number" if isinstance(value, int | float) else "a value")


_CONVERTERS: dict[Task, Callable[[Mapping[str, Any], Detection, Table], dict[str, Any]]] = {
    Task.TEXT: _text_row,
    Task.CLASSIFICATION: _labelled_row,
    Task.MULTILABEL: _labelled_row,
    Task.REGRESSION: _labelled_row,
    Task.TOKEN_CLASSIFICATION: _tagged_row,
    Task.EMBEDDING: _embedding_row,
    Task.QUESTION_ANSWERING: _answered_row,
    Task.INSTRUCTION: _instruction_row,
}
_TARGETS: dict[Task, Callable[[Mapping[str, Any], Detection, Table], Label]] = {
    Task.CLASSIFICATION: _class_name,
    Task.MULTILABEL: _class_names,
    Task.REGRESSION: _number,
}
