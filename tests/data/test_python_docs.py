"""Docstrings become questions and short plain answers, the same every time."""

from __future__ import annotations

import sys
import textwrap

import pytest

from tunewright.data.docstrings import LONGEST, answer_text, signature_text
from tunewright.data.python_docs import collect, read
from tunewright.data.sources import load, load_splits
from tunewright.errors import DataError


def test_named_modules_become_trainable_conversations():
    found = load("python-docs:json,math")
    assert found.task.value == "instruction"
    by_group = {record.meta["group"]: record for record in found}
    question, answer = by_group["math.sqrt"].messages
    assert "`math.sqrt`" in question.content
    assert answer.content == "`math.sqrt(x, /)`\n\nReturn the square root of x."
    assert answer.train and not question.train
    assert "json.JSONEncoder.default" in by_group


def test_pairs_are_the_same_every_time_and_answers_differ():
    first, second = read("python-docs:os"), read("python-docs:os")
    assert first.rows == second.rows
    answers = [row["answer"] for row in first.rows]
    assert len(set(answers)) == len(answers)
    assert {"os.path.join", "os.getcwd", "os"} <= {row["group"] for row in first.rows}
    assert not any(part.startswith("_") for row in first.rows for part in row["group"].split("."))


def test_a_docstring_is_never_on_both_sides_of_a_split():
    found = load_splits("python-docs:random,statistics", 0.2, 0.2)
    groups = [{r.meta["group"] for r in part} for _, part in found.items()]
    assert all(groups) and not groups[0] & groups[1] and not groups[0] & groups[2]


def test_answers_stay_short_and_end_with_a_sentence():
    rows = read("python-docs:collections,datetime,argparse,typing").rows
    for row in rows:
        described = row["answer"].split("`\n\n", 1)[-1]
        assert 25 <= len(described) <= LONGEST
        assert ">>>" not in described and ":param" not in described
        assert " at 0x" not in row["answer"]


def test_modules_that_do_things_and_modules_that_are_not_there_are_refused():
    with pytest.raises(DataError, match="does things of its own"):
        read("python-docs:antigravity")
    with pytest.raises(DataError, match=r"'jsn' cannot be imported.*Did you mean 'json'"):
        read("python-docs:json,jsn")
    assert "antigravity" not in sys.modules


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with everything that goes wrong in real ones."""
    files = {
        "oddpkg/__init__.py": '''
            """An odd package that is used to test the reading of docstrings."""
            import warnings
            from json import dumps
            print("printed at import")
            warnings.warn("warned at import")
            def good(a, b=1):
                """Add two numbers, which is a good thing to do.

                More about it.

                Args:
                    a: first.
                """
            def short():
                """Too short."""
            def old():
                """Deprecated since version 1, use good in its place."""
            def _private():
                """Nobody should read this long private docstring."""
            copy = good
            import sys, types
            class Anything(types.ModuleType):
                def __getattr__(self, name):
                    return object()
            strange = sys.modules["oddpkg.strange"] = Anything("oddpkg.strange")
        ''',
        "oddpkg/broken.py": "raise RuntimeError('no display')",
        "oddpkg/quits.py": "import sys; sys.exit(3)",
        "oddpkg/__main__.py": "raise AssertionError('ran as a program')",
        "oddpkg/tests/__init__.py": "raise AssertionError('tests were imported')",
        "oddpkg/inner/__init__.py": '"""The inner package holds one more thing to find."""',
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "oddpkg"
    for name in [n for n in sys.modules if n.partition(".")[0] == "oddpkg"]:
        del sys.modules[name]


def test_packages_that_misbehave_are_read_as_far_as_they_go(package, capsys):
    pairs, skipped = collect([package])
    assert [pair["group"] for pair in pairs] == ["oddpkg", "oddpkg.copy", "oddpkg.inner"]
    assert pairs[1]["answer"] == (
        "`oddpkg.copy(a, b=1)`\n\nAdd two numbers, which is a good thing to do.\n\nMore about it."
    )
    assert skipped == ["oddpkg.broken", "oddpkg.quits"]
    assert capsys.readouterr().out == ""


def test_markup_is_taken_out():
    docstring = """Fit a :class:`~pkg.Model` to ``x``, see `the guide <https://x.y>`_.

    .. note::
        Not this.

    Second paragraph
    on two lines:

        code_that_is_left_out()

    Third one.

    Parameters
    ----------
    x : array
    """
    assert answer_text(docstring, "f") == "Fit a `pkg.Model` to `x`, see the guide.\n\nThird one."


def test_signatures_written_in_docstrings():
    docstring = "f(a, b[, c]) -> int\n\nReturn the sum of what is given."
    assert answer_text(docstring, "m.f") == "Return the sum of what is given."
    assert signature_text(object(), "m.f", docstring) == "m.f(a, b[, c])"
    assert signature_text(object(), "m.f", "No signature.") == ""
    many = ", ".join(f"argument_{i}=None" for i in range(30))
    call = signature_text(object(), "m.f", f"f({many})\n\nText.")
    assert len(call) <= 170 and call.endswith(", ...)")


def test_long_texts_are_cut_at_a_sentence():
    docstring = "This is a sentence. " * 100
    found = answer_text(docstring, "f")
    assert len(found) <= LONGEST and found.endswith("sentence.")
    assert answer_text("word " * 300, "f") == ""
