"""A docstring becomes a short plain answer: its summary and first paragraphs, without markup."""

from __future__ import annotations

import inspect
import re
from typing import Any

LONGEST = 600
"""Characters of an answer, cut at the end of a sentence."""
_LONGEST_SIGNATURE = 160

_SECTION = re.compile(
    r"^\s*(Parameters|Returns?|Yields?|Raises|Warns|See Also|Notes?|References|Examples?|"
    r"Attributes|Methods|Args|Arguments|Keyword Arguments|Keyword Args|Usage|Shape|Inputs?|"
    r"Outputs?|Other Parameters|Receives|Warnings?|Requires|Todo)\s*:{0,2}\s*$",
    re.IGNORECASE,
)
_FIELD = re.compile(r"^\s*:(param|type|returns?|rtype|raises?|arg|keyword|var|ivar|cvar)\b")
_UNDERLINE = re.compile(r"^\s*([-=~^*#])\1{2,}\s*$")
_ROLE = re.compile(r":(?:[a-z]+:)?[a-z]+:`~?\.?([^`<]+?)(?:\s*<[^>`]*>)?`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^>`]+>`__?")
_MATH = re.compile(r"\$\$|\\\w+\{|:math:")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_SENTENCE_END = re.compile(r"[.!?][)\"'`]?(?=\s|$)")
_REFERENCE = re.compile(
    r"\b(?:Read more|See the documentation|For an example|See also)\b[^.]*(?:\.(?!\s)[^.]*)*\.?"
)
_LIST_ITEM = re.compile(r"^\s*([-*+\u2022]|\d+[.)])\s+")
_DEPRECATED = re.compile(r"^\W*(\.\. *deprecated|deprecated\b|alias (for|of)\b)", re.IGNORECASE)


def answer_text(docstring: str, name: str) -> str:
    """The plain description in a docstring, at most `LONGEST` characters.

    Everything from the first section (Parameters, Examples, ...) on is left out. Returns an empty
    string for a docstring that only says that the thing is deprecated or an alias.

    Args:
        docstring: as written.
        name: full name of what it describes, to know a signature in its first line.
    """
    text = inspect.cleandoc(docstring)
    while _has_signature(text, name):
        text = inspect.cleandoc(_after_signature(text))
    if _DEPRECATED.match(text):
        return ""
    paragraphs = [p for p in (_flowed(b) for b in _blocks(text)) if p]
    return _cut("\n\n".join(paragraphs))


def signature_text(thing: Any, name: str, docstring: str) -> str:
    """The call of a function, method or class as one line, or an empty string."""
    written = _written_signatures(inspect.cleandoc(docstring), name)
    try:
        signature = inspect.signature(thing)
    except (ValueError, TypeError):
        return _shortened(written[-1]) if written else ""
    if len(written) > 1:  # overloads, or a ufunc whose real names come second
        return _shortened(written[-1])
    call = name + _ADDRESS.sub("", str(signature))
    if len(call) > _LONGEST_SIGNATURE:
        bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
        plain = signature.replace(parameters=bare, return_annotation=signature.empty)
        call = name + _ADDRESS.sub("", str(plain))
    return _shortened(call)


def _written_signatures(text: str, name: str) -> list[str]:
    """The calls in the first lines of a docstring, with the full name."""
    found = []
    while _has_signature(text, name):
        call = " ".join(text[: _signature_end(text)].split())
        found.append(name + call[call.index("(") :])
        text = inspect.cleandoc(_after_signature(text))
    return found


def _shortened(call: str) -> str:
    """At most `_LONGEST_SIGNATURE` characters, cut between arguments."""
    if len(call) <= _LONGEST_SIGNATURE:
        return call
    kept = call[:_LONGEST_SIGNATURE].rpartition(", ")[0]
    return f"{kept}, ...)" if kept.count("(") == 1 else f"{call.partition('(')[0]}(...)"


def _has_signature(text: str, name: str) -> bool:
    short = name.rpartition(".")[2]
    return bool(re.match(rf"(?:[\w.]+\.)?{re.escape(short)}\s*\(", text))


def _after_signature(text: str) -> str:
    rest = text[_signature_end(text) :].lstrip(" ")
    if rest.startswith("->"):
        rest = rest.partition("\n")[2]
    return rest.lstrip("-: \n")


def _signature_end(text: str) -> int:
    """Behind the bracket that closes the first one."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and character in ")]}":
            return position + 1
    return len(text.partition("\n")[0])


def _blocks(text: str) -> list[list[str]]:
    """Paragraphs as lists of lines, up to the first section, doctest or field."""
    blocks: list[list[str]] = [[]]
    lines = text.split("\n")
    for position, line in enumerate(lines):
        following = lines[position + 1] if position + 1 < len(lines) else ""
        section = _SECTION.match(line) and (line.rstrip().endswith(":") or _underlined(following))
        if section or line.lstrip().startswith(">>>") or _FIELD.match(line):
            break
        if _underlined(following) and blocks[-1] == []:  # a title
            if position:
                break
            continue
        if _UNDERLINE.match(line):
            continue
        if line.strip():
            blocks[-1].append(line.rstrip())
        elif blocks[-1]:
            blocks.append([])
    return blocks


def _underlined(following: str) -> bool:
    return bool(_UNDERLINE.match(following))


def _flowed(lines: list[str]) -> str:
    """A paragraph on one line, without markup; empty for directives, code and tables."""
    if not lines or lines[0].lstrip().startswith((".. ", "+--", "|", "===", "$ ", "% ")):
        return ""
    indented = all(line.startswith((" ", "\t")) for line in lines)
    if indented and not _LIST_ITEM.match(lines[0]):
        return ""  # code, or the body of a directive
    parts = [lines[0].strip()]
    for line in lines[1:]:
        separator = "\n" if _LIST_ITEM.match(line) else " "
        parts.append(separator + line.strip())
    text = "".join(parts)
    if _MATH.search(text):
        return ""
    text = _LINK.sub(r"\1", _ROLE.sub(r"`\1`", text)).replace("``", "`")
    text = " ".join(_REFERENCE.sub("", text).split(" ")).strip()
    return "" if text.endswith(":") else text  # announces what is left out


def _cut(text: str) -> str:
    """The text up to the last sentence end within `LONGEST` characters."""
    if len(text) > LONGEST:
        ends = [match.end() for match in _SENTENCE_END.finditer(text[: LONGEST + 1])]
        ends = [end for end in ends if end <= LONGEST]
        if not ends:
            return ""
        text = text[: ends[-1]]
    return text.rstrip()
