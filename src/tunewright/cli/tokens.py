"""What a person sees of the tokens of a row: which are trained, which are control."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from tunewright.data.token_view import Token, TokenRow

_TRAINED = "black on green"
_TRAINED_SPECIAL = "black on magenta"
_SPECIAL = "magenta"
_GIVEN = "dim"


def print_tokens(console: Console, rows: Iterable[TokenRow]) -> None:
    """Print rows in colours, or with trained spans in ⟦brackets⟧ where there are none."""
    plain = console.no_color or console.color_system is None
    console.print()
    console.print(_legend(plain))
    for row in rows:
        console.print()
        beyond = f", {row.cut:,} more are cut" if row.cut else ""
        console.print(
            f"[bold]{row.part} row {row.row}[/]: {len(row.tokens):,} tokens, {row.trained:,} of "
            f"them trained{beyond}"
        )
        console.print(row_text(row.tokens, plain), soft_wrap=True)


def _legend(plain: bool) -> Text:
    legend = Text("Tokens: ")
    if plain:
        return legend + Text("⟦trained⟧, not trained; control tokens as they are written")
    legend.append("trained", _TRAINED)
    legend.append(" ")
    legend.append("control, trained", _TRAINED_SPECIAL)
    legend.append("  ")
    legend.append("control, not trained", _SPECIAL)
    legend.append("  ")
    legend.append("not trained", _GIVEN)
    return legend


def row_text(tokens: Iterable[Token], plain: bool) -> Text:
    """A row in colours; line ends inside trained text are made visible."""
    text = Text()
    for trained, run in groupby(tokens, key=lambda token: token.trained):
        if plain and trained:
            text.append("⟦")
        for token in run:
            shown = token.text.replace("\n", "↵\n") if trained else token.text
            text.append(shown, "" if plain else _style(token))
        if plain and trained:
            text.append("⟧")
    return text


def _style(token: Token) -> str:
    if token.special:
        return _TRAINED_SPECIAL if token.trained else _SPECIAL
    return _TRAINED if token.trained else _GIVEN
