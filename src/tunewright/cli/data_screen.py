"""What `tunewright data` shows a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from tunewright.data.mix import Mix
    from tunewright.data.preview import Preview

_SIGNS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}
_LONGEST = 400
"""Characters of one role that are shown."""


def preview_lines(found: Preview) -> Text:
    """A source in a few lines, then its first rows by role."""
    parts = ", ".join(f"{name} {rows:,}" for name, rows in found.parts.items() if rows)
    text = Text()
    text.append(found.source, "bold")
    total = sum(found.parts.values())
    text.append(f": {total:,} {'row' if total == 1 else 'rows'} ({parts}), {_task(found)}\n")
    mapped = ", ".join(f"{role} from {column!r}" for role, column in found.columns.items())
    text.append(f"  {mapped}\n")
    if found.unused:
        text.append(f"  not used: {', '.join(map(repr, found.unused))}\n", "dim")
    if not found.trainable:
        text.append(f"  {found.note}\n", "yellow")
    for shown in found.rows:
        text.append(f"\n{shown.part}, {shown.source}, row {shown.row}\n", "dim")
        for role, words in _spoken(shown.roles):
            text.append(f"  {role}: ", "cyan")
            text.append(f"{_short(words)}\n")
    text.rstrip()
    return text


def mix_table(made: Mix) -> Table:
    """What a mix took of each source."""
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="dim")
    for heading in ("source", "weight", "taken", "of"):
        table.add_column(heading, justify="left" if heading == "source" else "right")
    table.add_column("")
    for one in made.taken:
        weight = "all" if one.weight is None else f"{one.weight:g}"
        left_out = f"its {one.left_out:,} held-out rows stay out" if one.left_out else ""
        numbers = (weight, f"{one.rows:,}", f"{one.available:,}")
        table.add_row(Text(one.source), *numbers, left_out)
    return table


def difference_lines(name: str, found: Mapping[str, Any]) -> Text:
    """What changed, in numbers and examples."""
    text = Text()
    text.append(name, "bold")
    text.append(f": {found['before']:,} rows before, {found['after']:,} after: ")
    counts = ", ".join(f"{kind} {found[kind]:,}" for kind in ("same", *_SIGNS))
    text.append(f"{counts}\n")
    for kind, (sign, colour) in _SIGNS.items():
        examples = found["examples"][kind]
        for change in examples:
            text.append(f"\n{sign} {_short(change['text'])}\n", colour)
            said = [_short(v) for v in (change["before"], change["after"]) if v is not None]
            if said:
                text.append(f"    {' -> '.join(said)}\n")
            places = (change["before_place"], change["after_place"])
            text.append(f"    {' -> '.join(filter(None, places))}\n", "dim")
        if len(examples) < found[kind]:
            text.append(f"  and {found[kind] - len(examples):,} more {kind}\n", "dim")
    text.rstrip()
    return text


def _spoken(roles: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Roles and what stands in them: turns one by one, tags behind their tokens."""
    tokens, tags = roles.get("tokens"), roles.get("tags")
    if isinstance(tokens, list) and isinstance(tags, list):
        pairs = zip(tokens, tags, strict=False)
        yield "tokens", " ".join(f"{a}" if b == "O" else f"{a}[{b}]" for a, b in pairs)
        return
    for role, value in roles.items():
        yield from value if role == "messages" else [(role, value)]


def _task(found: Preview) -> str:
    return f"task {found.task}" if found.trainable else found.task


def _short(value: Any) -> str:
    whole = value if isinstance(value, str) else str(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        whole = " ".join(value)
    whole = whole.replace("\n", "\n    ")
    if len(whole) <= _LONGEST:
        return whole
    return f"{whole[:_LONGEST]}... ({len(whole):,} characters)"
