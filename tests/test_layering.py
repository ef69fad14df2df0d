"""Imports go one way through the rooms, and light modules stay light."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "tunewright"

# A room may import those on its own line and above it, never below.
ROOMS = (
    ("errors",),
    ("artifacts",),
    ("download",),
    ("config",),
    ("metrics",),
    ("data",),
    ("models",),
    ("plan",),
    ("train",),
    ("evaluate",),
    ("compress",),
    ("export",),
    ("serve",),
    ("feedback",),
    ("checking",),
    ("proposing",),
    ("scoring",),
    ("pipeline",),
    ("_api", "demo", "fine_tuning", "optimization"),
    ("studio",),
    ("cli",),
    ("__main__",),
)
RANK = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
LIGHT = ("__init__", "__main__", "errors", "artifacts", "config", "cli")
HEAVY = {
    "accelerate",
    "datasets",
    "matplotlib",
    "pandas",
    "peft",
    "scipy",
    "sklearn",
    "torch",
    "transformers",
}


def modules(source: Path) -> Iterator[tuple[Path, str, ast.Module]]:
    """Every module of the package with its room and its tree."""
    for path in sorted(source.rglob("*.py")):
        first = path.relative_to(source).parts[0]
        yield path, first.removesuffix(".py"), ast.parse(path.read_text(encoding="utf-8"))


def imported(node: ast.AST, package: tuple[str, ...]) -> list[str]:
    """Full names of what one statement imports, from a module within `package`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = package[: len(package) - node.level + 1] if node.level else ()
        module = ".".join([*above, *filter(None, [node.module])])
        return [f"{module}.{alias.name}" for alias in node.names]
    return []


def breaches(source: Path) -> list[str]:
    """Imports that go down the list of rooms, and rooms that have no place in it."""
    found = []
    for path, room, tree in modules(source):
        where = path.relative_to(source)
        if room == "__init__":
            continue
        if room not in RANK:
            found.append(f"{where} is in no room: give {room!r} its place in ROOMS")
            continue
        package = ("tunewright", *where.parts[:-1])
        for node in ast.walk(tree):
            for name in imported(node, package):
                root, _, rest = name.partition(".")
                target = rest.partition(".")[0]
                if root == "tunewright" and RANK.get(target, -1) > RANK[room]:
                    line = getattr(node, "lineno", 0)
                    found.append(f"{where}:{line}: {room} imports {target}, which is below it")
    return found


def at_import_time(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes that run when the module is imported: not function bodies, not typing-only."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)


def heavy_imports(source: Path) -> list[str]:
    """Heavy libraries that a light module imports as it is imported itself."""
    return [
        f"{path.relative_to(source)}:{getattr(node, 'lineno', 0)}: imports {name} at the top"
        for path, room, tree in modules(source)
        if room in LIGHT
        for node in at_import_time(tree)
        for name in imported(node, ("tunewright", *path.relative_to(source).parts[:-1]))
        if name.partition(".")[0] in HEAVY
    ]


def test_rooms_import_only_what_stands_above_them() -> None:
    assert len(list(modules(SOURCE))) > 10
    assert breaches(SOURCE) == []


def test_light_modules_import_no_heavy_library() -> None:
    assert heavy_imports(SOURCE) == []


def test_a_breach_is_found_however_it_is_written(tmp_path: Path) -> None:
    for room in ("config", "data", "train", "attic"):
        (tmp_path / room).mkdir()
    (tmp_path / "config" / "a.py").write_text("def f():\n    from tunewright import train\n")
    (tmp_path / "config" / "b.py").write_text("from ..data.records import Record\n")
    (tmp_path / "data" / "a.py").write_text("import tunewright.train.loop\n")
    (tmp_path / "train" / "a.py").write_text("from tunewright.data import records\n")
    (tmp_path / "attic" / "a.py").write_text("x = 1\n")
    assert breaches(tmp_path) == [
        "attic/a.py is in no room: give 'attic' its place in ROOMS",
        "config/a.py:2: config imports train, which is below it",
        "config/b.py:1: config imports data, which is below it",
        "data/a.py:1: data imports train, which is below it",
    ]


def test_a_heavy_import_is_found_unless_it_waits(tmp_path: Path) -> None:
    (tmp_path / "cli").mkdir()
    (tmp_path / "__init__.py").write_text("try:\n    import torch\nexcept ImportError:\n    pass\n")
    (tmp_path / "cli" / "late.py").write_text("def f():\n    import torch\n")
    (tmp_path / "cli" / "typing_only.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
    )
    (tmp_path / "errors.py").write_text("from transformers.utils import logging\n")
    assert heavy_imports(tmp_path) == [
        "__init__.py:2: imports torch at the top",
        "errors.py:1: imports transformers.utils.logging at the top",
    ]
