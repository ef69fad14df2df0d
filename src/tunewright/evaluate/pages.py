"""Templates to text. Everything a user wrote is escaped unless it is marked safe here.

Both environments escape by default: HTML through Jinja's autoescape, Markdown through a
`finalize` that every printed value passes.
"""

from __future__ import annotations

import re
from functools import cache
from html import escape
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tunewright.evaluate.figure_style import ACCENT, INK, LINE, MUTED, ON_ACCENT, SECOND

_THEME = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
    ON_ACCENT: "var(--on-accent)",
}
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~!$])")
_SCORE = re.compile(r"(\S+) (\(\S+(?: to \S+)?\))")
_LINE_BREAKS = re.compile(r"\s*[\r\n]+\s*")


def html(template: str, **context: Any) -> str:
    """Render a template of this room as HTML."""
    return _environment(markdown=False).get_template(template).render(**context)


def markdown(template: str, **context: Any) -> str:
    """Render a template of this room as Markdown, with one blank line between blocks."""
    text = _environment(markdown=True).get_template(template).render(**context)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def escape_markdown(value: Any) -> str:
    """One line of text that Markdown shows as it is, within a table cell too."""
    if isinstance(value, Markup):
        return value
    text = escape(_LINE_BREAKS.sub(" ", str(value)), quote=False)
    return _MARKDOWN_SPECIAL.sub(r"\\\1", text)


def fenced(text: str, language: str = "") -> Markup:
    """A fenced code block that the text cannot close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}{language}\n{text.rstrip()}\n{fence}")


def themed_svg(svg: str, name: str, description: str) -> Markup:
    """An inline SVG that follows the page's colours, with ids of its own and a description.

    Args:
        svg: as `to_svg` makes it.
        name: unique on the page; prefixes every id, since a page shares one name space.
        description: what a reader who cannot see the picture should know.
    """
    for color, variable in _THEME.items():
        svg = svg.replace(color, variable)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    # The drawing program's global rule would reach every element of the page.
    svg = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    head = f'<svg role="img" aria-label="{escape(description)}"'
    return Markup(svg.replace("<svg", head, 1))


def code_spans(text: str) -> Markup:
    """Escaped HTML of one paragraph in which `backticks` are code."""
    parts = str(text).split("`")
    if len(parts) % 2 == 0:
        return Markup(escape(text))
    return Markup(
        "".join(
            f"<code>{escape(part)}</code>" if i % 2 else escape(part)
            for i, part in enumerate(parts)
        )
    )


def score_parts(cell: str) -> Markup | None:
    """A score whose interval may stand below it, as escaped HTML; None for any other cell."""
    found = _SCORE.fullmatch(str(cell))
    if found is None:
        return None
    value, between = map(escape, found.groups())
    return Markup(f'{value} <span class="between">{between}</span>')


def markdown_code_spans(text: str) -> Markup:
    """Escaped Markdown of one paragraph in which `backticks` stay code."""
    parts = str(text).split("`")
    if len(parts) % 2 == 0:
        return Markup(escape_markdown(text))
    return Markup(
        "".join(
            f"`{_LINE_BREAKS.sub(' ', part)}`" if i % 2 and part else escape_markdown(part)
            for i, part in enumerate(parts)
        )
    )


@cache
def _environment(*, markdown: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("tunewright.evaluate"),
        autoescape=not markdown,
        finalize=escape_markdown if markdown else None,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["fenced"] = fenced
    environment.filters["score_parts"] = score_parts
    environment.filters["prose"] = markdown_code_spans if markdown else code_spans
    return environment
