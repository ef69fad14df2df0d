"""300 damaged files: each is a clear error or a whole read, and no row is lost without a word."""

from __future__ import annotations

import io
import json
import random
import re

import pytest

from tunewright.data import files
from tunewright.data.sources import load
from tunewright.errors import DataError

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "txt")
MARKER = re.compile(r"mark\d{3}x")


def rows(noise: random.Random) -> list[dict[str, str]]:
    words = ["über", "plain", "“quoted”", "naïve", "a,b", "tab-less", "日本", "😀"]
    return [
        {"text": f"mark{i:03}x " + " ".join(noise.choices(words, k=5)), "label": noise.choice("ab")}
        for i in range(12)
    ]


def written(noise: random.Random, form: str) -> bytes:
    """A good file of 12 rows, each with a marker of its own."""
    found = rows(noise)
    if form == "jsonl":
        return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in found).encode()
    if form == "json":
        return json.dumps(found, ensure_ascii=False, indent=1).encode()
    if form == "csv":
        lines = [f'"{r["text"]}",{r["label"]}\n' for r in found]
        return ("text,label\n" + "".join(lines)).encode()
    if form == "tsv":
        return ("text\tlabel\n" + "".join(f"{r['text']}\t{r['label']}\n" for r in found)).encode()
    if form == "txt":
        return "\n\n".join(r["text"] for r in found).encode()
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(found), buffer)
    return buffer.getvalue()


def truncate(content: bytes, noise: random.Random) -> bytes:
    return content[: noise.randrange(1, len(content))]


def lose_the_start(content: bytes, noise: random.Random) -> bytes:
    return content[noise.randrange(1, len(content) // 2) :]


def flip_bytes(content: bytes, noise: random.Random) -> bytes:
    found = bytearray(content)
    for _ in range(noise.randint(1, 5)):
        found[noise.randrange(len(found))] = noise.randrange(256)
    return bytes(found)


def zero_bytes(content: bytes, noise: random.Random) -> bytes:
    place = noise.randrange(len(content))
    return content[:place] + b"\0" * noise.randint(1, 50) + content[place:]


def only_zeros(content: bytes, noise: random.Random) -> bytes:
    return b"\0" * noise.randint(1, 200)


def wrong_encoding(content: bytes, noise: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    return text.encode(
        noise.choice(["latin-1", "cp1252", "utf-16", "utf-32", "shift_jis"]), "replace"
    )


def mixed_encoding(content: bytes, noise: random.Random) -> bytes:
    half = len(content) // 2
    return content[:half] + content[half:].decode("utf-8", "ignore").encode("utf-16-le")


def deep_nesting(content: bytes, noise: random.Random) -> bytes:
    depth = noise.choice([50, 100_000])
    return content + b'{"text": ' + b"[" * depth + b"]" * depth + b"}\n"


def mixed_types(content: bytes, noise: random.Random) -> bytes:
    odd = [
        b'{"text": {"a": [1]}, "label": "a"}',
        b'{"text": 5, "label": null}',
        b'{"text": "t", "label": [1]}',
        b'{"other": 1}',
        b"[1, 2]",
        b'"word"',
        b"null",
    ]
    lines = content.split(b"\n")
    lines.insert(noise.randrange(1, len(lines)), noise.choice(odd))
    return b"\n".join(lines)


def huge_line(content: bytes, noise: random.Random) -> bytes:
    return content + b'{"text": "' + b"long " * 400_000 + noise.choice([b'", "label": "a"}\n', b""])


def repeated_columns(content: bytes, noise: random.Random) -> bytes:
    return content.replace(b"label", b"text")


def lines_shuffled_in(content: bytes, noise: random.Random) -> bytes:
    lines = content.split(b"\n")
    noise.shuffle(lines)
    return b"\n".join(lines)


def stray_quotes(content: bytes, noise: random.Random) -> bytes:
    place = noise.randrange(len(content))
    return content[:place] + b'"' + content[place:]


def other_line_ends(content: bytes, noise: random.Random) -> bytes:
    return content.replace(b"\n", noise.choice([b"\r\n", b"\r", b"\n\n", b"\n\r"]))


DAMAGES = [
    truncate, lose_the_start, flip_bytes, zero_bytes, only_zeros, wrong_encoding, mixed_encoding,
    deep_nesting, mixed_types, huge_line, repeated_columns, lines_shuffled_in, stray_quotes,
    other_line_ends,
]  # fmt: skip
CASES = [(form, damage, seed) for form in FORMATS for damage in DAMAGES for seed in range(4)]


def markers_in(content: bytes) -> set[str]:
    """Markers that a person would see in the file, whatever its encoding."""
    plain = content.replace(b"\0", b"").decode("latin-1")
    return set(MARKER.findall(plain))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_damage_is_an_error_or_loses_nothing(tmp_path, form, damage):
    for seed in range(4):
        noise = random.Random(f"{form} {damage.__name__} {seed}")
        content = damage(written(noise, form), noise)
        path = tmp_path / f"rows{seed}.{form}"
        path.write_bytes(content)
        try:
            found = load(path)
        except DataError as error:
            assert f"rows{seed}.{form}" in str(error)
            assert len(str(error)) < 1200
            assert "Traceback" not in str(error)
            continue
        assert len(found) > 0
        seen = {m for r in found for m in MARKER.findall(f"{r.plain_text} {r.label} {r.meta}")}
        if form != "parquet":
            assert seen == markers_in(content)
        else:
            assert len(found) == 12


def test_there_are_three_hundred_of_them():
    assert len(CASES) >= 300


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda f: f.__name__)
def test_rows_on_disk_are_those_in_memory_and_so_is_what_is_said_of_damage(
    tmp_path, monkeypatch, damage
):
    for seed in range(8):
        noise = random.Random(f"disk {damage.__name__} {seed}")
        path = tmp_path / f"rows{seed}.jsonl"
        path.write_bytes(damage(written(noise, "jsonl"), noise))
        found = []
        for in_memory in (10**9, 0):
            monkeypatch.setattr(files, "IN_MEMORY", in_memory)
            try:
                found.append(tuple(load(path)))
            except DataError as error:
                found.append(str(error))
        assert found[0] == found[1]
