"""Question-answer pairs from the docstrings of installed Python modules.

For anyone who wants a model that knows a library. `python-docs:os,json,numpy` names modules;
`python-docs:` alone stands for a default list. Modules are imported, never run as programs. The
same modules give the same pairs in the same order.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import io
import pkgutil
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from tunewright.data.docstrings import answer_text, signature_text
from tunewright.data.table import Table
from tunewright.errors import DataError, did_you_mean

PREFIX = "python-docs:"
DEFAULT = (
    "builtins", "abc", "argparse", "array", "ast", "asyncio", "base64", "bisect", "calendar",
    "cmath", "codecs", "collections", "concurrent", "configparser", "contextlib", "copy", "csv",
    "ctypes", "dataclasses", "datetime", "decimal", "difflib", "dis", "email", "enum", "fileinput",
    "fnmatch", "fractions", "functools", "gc", "getpass", "gettext", "glob", "graphlib", "gzip",
    "hashlib", "heapq", "hmac", "html", "http", "importlib", "inspect", "io", "ipaddress",
    "itertools", "json", "linecache", "locale", "logging", "lzma", "mailbox", "math", "mimetypes",
    "mmap", "multiprocessing", "numbers", "operator", "os", "pathlib", "pdb", "pickle", "pkgutil",
    "platform", "plistlib", "pprint", "queue", "random", "re", "sched", "secrets", "select",
    "selectors", "shelve", "shlex", "shutil", "signal", "smtplib", "socket", "socketserver",
    "sqlite3", "ssl", "statistics", "string", "struct", "subprocess", "symtable", "sys", "tarfile",
    "tempfile", "textwrap", "threading", "time", "timeit", "token", "tokenize", "traceback",
    "types", "typing", "unicodedata", "unittest", "urllib", "uuid", "warnings", "wave", "weakref",
    "xml", "zipfile", "zlib", "zoneinfo", "numpy",
)  # fmt: skip
"""What `python-docs:` alone, and the word `default` among its modules, stand for."""

_SIDE_EFFECTS = frozenset({"antigravity", "this", "__main__", "idlelib", "turtledemo", "lib2to3"})
_NOT_WALKED = frozenset(
    {"test", "tests", "testing", "conftest", "setup", "version", "compat", "externals", "vendor"}
)
_DEEPEST = 3
"""Packages inside packages that are looked into."""
_SHORTEST = 25
"""Characters a description needs."""
_IMPORT_FAILURES = (
    ImportError, AttributeError, OSError, RuntimeError, ValueError, TypeError, LookupError,
    NameError, SyntaxError, AssertionError, SystemExit,
)  # fmt: skip
"""What importing somebody's optional module has been seen to raise."""

_QUESTIONS = {
    "function": (
        "What does `{name}` do?",
        "How do I call `{name}`? Show its signature and what it does.",
        "Explain the Python function `{name}`.",
        "What is `{name}` for?",
        "Describe `{name}` briefly.",
    ),
    "class": (
        "What is `{name}`?",
        "What is the Python class `{name}` for?",
        "How do I create a `{name}`? Show its signature and what it is.",
        "Explain the class `{name}`.",
    ),
    "method": (
        "What does the method `{name}` do?",
        "How do I call `{name}`? Show its signature and what it does.",
        "Explain `{name}`.",
        "What is the method `{name}` for?",
    ),
    "property": (
        "What does the attribute `{name}` hold?",
        "What is `{name}`?",
    ),
    "module": (
        "What is the Python module `{name}` for?",
        "What does the module `{name}` provide?",
        "When would I use `{name}`?",
    ),
}


def read(spec: str) -> Table:
    """Make the pairs of the modules in `python-docs:MODULE,...`.

    Returns:
        Rows with `question`, `answer`, `group` (the full name, so that a split keeps a docstring
        in one part), `kind` and `module`.

    Raises:
        DataError: a named module cannot be imported, or none has a docstring.
    """
    listed = spec.removeprefix(PREFIX).strip()
    words = [word.strip() for word in listed.split(",") if word.strip()] or ["default"]
    chosen = [name for word in words for name in (DEFAULT if word == "default" else (word,))]
    names = list(dict.fromkeys(chosen))
    pairs, _ = collect(names)
    if not pairs:
        raise DataError(
            f"{spec!r} gives no question-answer pair: no public name in {', '.join(names)} has a "
            "docstring. Name other modules."
        )
    return Table(spec, pairs)


def collect(names: list[str]) -> tuple[list[dict[str, str]], list[str]]:
    """The pairs of named modules, and the submodules that could not be imported.

    Args:
        names: modules or packages; of a package, public submodules are looked into too.

    Raises:
        DataError: a named module cannot be imported.
    """
    pairs: list[dict[str, str]] = []
    skipped: list[str] = []
    seen: dict[int, Any] = {}
    answers: set[str] = set()
    with warnings.catch_warnings(), _silence():
        warnings.simplefilter("ignore")
        modules = [_import_named(name) for name in names]
        for module, name in zip(modules, names, strict=True):
            for kind, full_name, thing in _walk(module, name, skipped, seen):
                pair = _pair(kind, full_name, thing, name)
                if pair is not None and pair["answer"] not in answers:
                    answers.add(pair["answer"])
                    pairs.append(pair)
    return pairs, skipped


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Modules may print when they are imported."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _import_named(name: str) -> ModuleType:
    if name.partition(".")[0] in _SIDE_EFFECTS:
        raise DataError(f"Importing {name!r} does things of its own, so it is not read.")
    try:
        return importlib.import_module(name)
    except _IMPORT_FAILURES as error:
        hint = did_you_mean(name, [*sys.stdlib_module_names, *DEFAULT])
        raise DataError(
            f"The module {name!r} cannot be imported: {type(error).__name__}: {error}.{hint} "
            "Install its package or name another module."
        ) from error


def _walk(
    module: ModuleType, name: str, skipped: list[str], seen: dict[int, Any]
) -> Iterator[tuple[str, str, Any]]:
    """Kind, full name and object of everything public, outer modules first.

    `seen` keeps what was met, so that no identity is used twice.
    """
    root = name.partition(".")[0]
    waiting = [(module, name, 0)]
    while waiting:
        module, name, depth = waiting.pop(0)
        if id(module) in seen:
            continue
        seen[id(module)] = module
        yield "module", name, module
        yield from _members(module, name, root, seen)
        if depth < _DEEPEST:
            waiting += [
                (found, full, depth + 1) for full, found in _submodules(module, name, skipped)
            ]


def _submodules(
    module: ModuleType, name: str, skipped: list[str]
) -> Iterator[tuple[str, ModuleType]]:
    folders = vars(module).get("__path__", ())  # `getattr` may make up an answer
    inside = {
        info.name for info in pkgutil.iter_modules([f for f in folders if isinstance(f, str)])
    }
    for short, value in list(vars(module).items()):
        if isinstance(value, ModuleType) and sys.modules.get(f"{name}.{short}") is value:
            inside.add(short)  # such as os.path, which no file on disk is named after
    for short in sorted(inside):
        if short.startswith("_") or short in _NOT_WALKED or short in _SIDE_EFFECTS:
            continue
        try:
            yield f"{name}.{short}", importlib.import_module(f"{name}.{short}")
        except _IMPORT_FAILURES:
            skipped.append(f"{name}.{short}")


def _members(
    module: ModuleType, name: str, root: str, seen: dict[int, Any]
) -> Iterator[tuple[str, str, Any]]:
    listed = getattr(module, "__all__", None)
    public = listed if isinstance(listed, list | tuple) else list(vars(module))
    for short in sorted({n for n in public if isinstance(n, str) and not n.startswith("_")}):
        try:
            thing = getattr(module, short)
        except _IMPORT_FAILURES:
            continue
        if isinstance(thing, ModuleType) or id(thing) in seen:
            continue
        if listed is None and not _belongs(thing, root):
            continue
        if inspect.isclass(thing):
            seen[id(thing)] = thing
            yield "class", f"{name}.{short}", thing
            yield from _methods(thing, f"{name}.{short}", seen)
        elif callable(thing) and thing.__doc__ != type(thing).__doc__:
            seen[id(thing)] = thing
            yield "function", f"{name}.{short}", thing


def _belongs(thing: Any, root: str) -> bool:
    """Defined in the package that is walked, and not only imported there."""
    home = getattr(thing, "__module__", None)
    return isinstance(home, str) and home.partition(".")[0].lstrip("_") == root.lstrip("_")


def _methods(cls: type, name: str, seen: dict[int, Any]) -> Iterator[tuple[str, str, Any]]:
    for short, thing in sorted(vars(cls).items()):
        if short.startswith("_") or id(thing) in seen:
            continue
        if isinstance(thing, property):
            yield "property", f"{name}.{short}", thing
        elif isinstance(thing, classmethod | staticmethod):
            yield "method", f"{name}.{short}", thing.__func__
        elif inspect.isroutine(thing):
            seen[id(thing)] = thing
            yield "method", f"{name}.{short}", thing


def _pair(kind: str, name: str, thing: Any, module: str) -> dict[str, str] | None:
    """One row, or None where the docstring says too little."""
    docstring = getattr(thing, "__doc__", None)
    if not isinstance(docstring, str):
        return None
    shown = name.removeprefix("builtins.")
    described = answer_text(docstring, shown)
    if len(described) < _SHORTEST:
        return None
    signature = "" if kind in ("module", "property") else signature_text(thing, shown, docstring)
    choices = _QUESTIONS[kind]
    choice = int.from_bytes(hashlib.sha256(shown.encode()).digest()[:4]) % len(choices)
    return {
        "question": choices[choice].format(name=shown),
        "answer": f"`{signature}`\n\n{described}" if signature else described,
        "group": name,
        "kind": kind,
        "module": module,
    }
