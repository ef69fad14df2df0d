"""Every finding of the audit is found where it was planted and nowhere else."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from string import ascii_lowercase

import pytest

from tunewright.config.task import Task
from tunewright.data.audit import audit
from tunewright.data.checks import check_quantity
from tunewright.data.clean import clean as clean_up
from tunewright.data.records import Dataset, Message, Record, Splits
from tunewright.data.split import split

NOISE = random.Random(11)
VOCABULARY = ["".join(NOISE.choices(ascii_lowercase, k=NOISE.randint(3, 8))) for _ in range(3000)]


def clean_text(number: int) -> str:
    return " ".join(random.Random(number).choices(VOCABULARY, k=12))


def clean(count: int, start: int = 0, labels: str = "ab") -> list[Record]:
    return [
        Record(text=clean_text(i), label=labels[i % len(labels)], row=i + 1)
        for i in range(start, start + count)
    ]


def splits(train, validation=(), test=(), task=Task.CLASSIFICATION) -> Splits:
    return Splits(
        Dataset(task, tuple(train)), Dataset(task, tuple(validation)), Dataset(task, tuple(test))
    )


def findings(*parts, **more):
    return {finding.id: finding for finding in audit(splits(*parts, **more)).findings}


def test_clean_data_has_no_findings():
    assert findings(clean(600), clean(150, 600), clean(150, 750)) == {}


def with_text(text: str, **more) -> Record:
    return Record(text=text, **{"label": "a", **more})


PLANTED = [
    ("empty.text", "error", [with_text(""), with_text("  \n")]),
    ("encoding.damage", "warning", [with_text("un cafÃ© s'il vous plaÃ®t"), with_text("odd \ufffd"),
                                    with_text("it isnâ€™t"), with_text("costs Â£5")]),
    ("encoding.control", "warning", [with_text("bell \x07 rings"), with_text("\x00 begins")]),
    ("markup.html", "info", [with_text("salt &amp; pepper"), with_text("<b>bold</b> words"),
                             with_text("line<br/>break")]),
    ("duplicate.exact", "warning", [with_text(clean_text(3).upper()), with_text(clean_text(4))]),
    ("duplicate.near", "info", [with_text(clean_text(3).upper() + "!", label="b"),
                                with_text(" ".join(reversed(clean_text(8).split())))]),
    ("label.rare", "warning", [with_text(clean_text(9001), label="c"),
                               with_text(clean_text(9002), label="c")]),
]  # fmt: skip


def test_labels_of_several_spellings_are_found_and_made_one():
    rows = [with_text(clean_text(9001), label="A"), with_text(clean_text(9002), label="b")]
    rows += [with_text(clean_text(9200 + i), label="c-D") for i in range(12)]
    train = [*clean(600), *rows]
    held = [with_text(clean_text(9100 + i), label="C_d") for i in range(3)]
    found = findings(train, held)["label.variants"]
    assert (found.severity, found.rows) == ("warning", 4)
    assert "'A' and 'a', 'C_d' and 'c-D'" in found.message
    cleaned = clean_up(splits(train, held), ["label.variants"])
    assert cleaned.splits.train.labels == ["a", "b", "c-D"]
    assert cleaned.splits.validation.labels == ["c-D"]
    assert [change.finding for change in cleaned.changes] == ["label.variants"] * 4
    sets = [Record(text=clean_text(i), label=("x y", "X_Y", "z")) for i in range(20)]
    cleaned = clean_up(splits(sets, task=Task.MULTILABEL), ["label.variants"])
    assert {record.label for record in cleaned.splits.train} == {("X_Y", "z")}


@pytest.mark.parametrize(("name", "severity", "rows"), PLANTED, ids=[p[0] for p in PLANTED])
def test_planted_rows_are_found_with_their_places(name, severity, rows):
    found = findings([*clean(600), *rows])
    finding = found.pop(name)
    assert (finding.severity, finding.rows) == (severity, len(rows))
    assert finding.places == tuple(("train", 600 + i) for i in range(len(rows)))
    assert finding.message and finding.fix
    assert 0 < len(finding.examples) <= 3
    assert set(found) <= {
        "label.contradictory",
        "balance.skewed",
        "outlier.length",
        "outlier.words",
    }


@pytest.mark.parametrize(
    "text",
    [
        "Ã la carte – “naïve” café, 5 €, £3, ½ price ™",  # noqa: RUF001
        "São Paulo, Âge tendre, BÉATRICE, MÜNCHEN",
        "a < b and b > c; AT&T; x<y>z",
        "tab\tand\nnewline",
        "emoji 😀 and ’quotes’",  # noqa: RUF001
    ],
)
def test_good_text_is_not_called_damaged(text):
    found = findings([*clean(600), with_text(text)])
    assert not found.keys() & {"encoding.damage", "encoding.control", "markup.html"}


def test_leakage_counts_the_held_out_rows():
    train = clean(600)
    test = [*clean(150, 600), *(with_text(clean_text(i), label="ab"[i % 2]) for i in range(20))]
    validation = [
        *clean(150, 750),
        *(with_text(clean_text(i).upper() + " indeed!", label="ab"[i % 2]) for i in range(30, 45)),
    ]
    found = findings(train, validation, test)
    assert set(found) == {"leakage.exact", "leakage.near"}
    assert (found["leakage.exact"].severity, found["leakage.exact"].rows) == ("error", 20)
    assert found["leakage.exact"].places == tuple(("test", 150 + i) for i in range(20))
    assert (found["leakage.near"].severity, found["leakage.near"].rows) == ("error", 15)
    assert found["leakage.near"].places == tuple(("validation", 150 + i) for i in range(15))
    assert "train row 31" in found["leakage.near"].examples[0]


def test_a_test_row_like_a_validation_row_leaks_too():
    found = findings(clean(600), clean(150, 600), [*clean(150, 750), *clean(3, 600)])
    assert found["leakage.exact"].rows == 3
    assert "validation" in found["leakage.exact"].message


def test_groups_and_prompts_leak():
    def answered(i: int, words: str = "") -> Record:
        return Record(
            messages=(
                Message("user", "Please explain " + clean_text(i)),
                Message("assistant", clean_text(i + 5000) + words, train=True),
            ),
            meta={"group": f"g{i}"},
        )

    train = [answered(i) for i in range(600)]
    same_prompt = Record(
        messages=(train[5].messages[0], Message("assistant", clean_text(777_777), train=True)),
        meta={"group": "g5"},
    )
    test = [answered(i) for i in range(600, 720)]
    found = findings(train, (), [*test, same_prompt], task=Task.INSTRUCTION)
    assert set(found) == {"leakage.prompt", "leakage.group"}
    assert found["leakage.prompt"].places == found["leakage.group"].places == (("test", 120),)


def test_contradictory_labels_list_every_row():
    rows = [*clean(600), with_text(clean_text(2).title(), label="b"), with_text(clean_text(6))]
    finding = findings(rows)["label.contradictory"]
    assert finding.places == (("train", 2), ("train", 600))
    assert "'a' and 'b'" in finding.examples[0]


def test_unseen_labels_are_errors():
    odd = [with_text(clean_text(9000), label="{new}"), with_text(clean_text(9001), label="{new}")]
    finding = findings(clean(600), clean(150, 600), [*clean(150, 750), *odd])["label.unseen"]
    assert (finding.severity, finding.rows) == ("error", 2)
    assert "'{new}'" in finding.message


def test_multilabel_rows_with_an_unseen_label():
    train = [Record(text=clean_text(i), label=("a", "b")) for i in range(600)]
    test = [Record(text=clean_text(700), label=("a", "z")), Record(text=clean_text(701), label=())]
    found = findings(train, (), test, task=Task.MULTILABEL)
    assert found["label.unseen"].rows == 1


def test_single_labels_and_constant_numbers_are_errors():
    assert findings(clean(600, labels="a"))["label.single"].severity == "error"
    numbers = [Record(text=clean_text(i), label=2.0) for i in range(600)]
    assert findings(numbers, task=Task.REGRESSION)["label.single"].severity == "error"


def test_skewed_balance():
    rows = [*clean(600, labels="a"), *clean(60, 600, labels="b")]
    assert findings(rows)["balance.skewed"].rows == 60
    assert "balance.skewed" not in findings([*rows, *clean(10, 700, labels="b")])


def test_constant_columns():
    same = [Record(text="the same", label="ab"[i % 2]) for i in range(600)]
    assert findings(same)["constant.column"].severity == "error"
    meta = [
        Record(text=r.text, label=r.label, meta={"lang": "en", "id": i})
        for i, r in enumerate(clean(600))
    ]
    finding = findings(meta)["constant.column"]
    assert finding.severity == "info"
    assert "'lang'" in finding.message and "'en'" in finding.message


def test_small_sets():
    found = findings(clean(80), (), clean(20, 80))
    assert found["quantity.small"].severity == "warning"
    assert found["quantity.held_out"].severity == "info"


@pytest.mark.parametrize(
    ("parameters", "rows", "said"),
    [
        (135_000_000, 499, ("quantity.small", "warning", "135 million weights needs at least 500")),
        (135_000_000, 500, ("quantity.modest", "info", "does well with 1,000 to 5,000")),
        (135_000_000, 1000, None),
        (
            1_000_000_000,
            999,
            ("quantity.small", "warning", "1.0 billion weights needs at least 1,0"),
        ),
        (7_000_000_000, 1999, ("quantity.modest", "info", "does well with 2,000 to 10,000")),
        (7_000_000_000, 2000, None),
        (10_000_000_000, 1999, ("quantity.small", "warning", "at least 2,000")),
        (70_000_000_000, 4999, ("quantity.modest", "info", "does well with 5,000 to 20,000")),
        (70_000_000_000, 5000, None),
    ],
)
def test_how_many_rows_are_enough_depends_on_the_model(parameters, rows, said):
    data = splits([Record(text=str(i), label="ab"[i % 2]) for i in range(rows)])
    found = list(check_quantity(data, parameters))
    if said is None:
        assert found == []
        return
    (finding,) = found
    assert (finding.id, finding.severity, finding.rows) == (*said[:2], rows)
    assert said[2] in finding.message


def chained(count: int) -> list[Record]:
    """Rows each of which is nearly the one before: three words of fifteen move on."""
    words = random.Random(1).sample(VOCABULARY, count + 20)
    return [Record(text=" ".join(words[i : i + 15]), label="ab"[i % 2]) for i in range(count)]


def test_held_out_rows_of_one_pattern_resemble_train_and_are_no_copies():
    rows = chained(60)
    train = [*clean(600), *rows[::2]]
    found = findings(train, (), [*clean(150, 600), *rows[1::2]])
    assert "leakage.near" not in found
    assert (found["leakage.alike"].severity, found["leakage.alike"].rows) == ("warning", 30)
    # The same pattern in few rows is a handful of copies.
    few = chained(6)
    found = findings([*clean(600), *few[::2]], (), [*clean(150, 600), *few[1::2]])
    assert (found["leakage.near"].severity, found["leakage.near"].rows) == ("error", 3)
    assert "leakage.alike" not in found


def test_parts_that_a_split_cut_hold_no_near_copies_that_count_as_errors():
    rows = [*clean(200), *chained(200)]
    cut = split(Dataset(Task.CLASSIFICATION, tuple(rows)), 0.1, 0.1)
    found = {f.id: f.severity for f in audit(cut, cut_here=True).findings}
    assert "error" not in found.values()
    assert found["leakage.alike"] == "warning"
    few = chained(6)
    parts = splits([*clean(600), *few[::2]], (), [*clean(150, 600), *few[1::2]])
    assert "leakage.near" not in {f.id for f in audit(parts, cut_here=True).findings}
    # A part that came from another file was not cut here, whatever else was.
    given = replace(
        parts,
        test=replace(
            parts.test, records=tuple(replace(r, source="test.jsonl") for r in parts.test)
        ),
    )
    assert "leakage.near" in {f.id for f in audit(given, cut_here=True).findings}


def test_empty_answers_and_prompts():
    def turn(asked: str, answer: str) -> Record:
        return Record(messages=(Message("user", asked), Message("assistant", answer, train=True)))

    good = [turn(clean_text(i), clean_text(i + 1000)) for i in range(600)]
    found = findings([*good, turn("What now?", " "), turn("", "An answer.")], task=Task.INSTRUCTION)
    assert (found["empty.answer"].severity, found["empty.answer"].rows) == ("error", 1)
    assert (found["empty.prompt"].severity, found["empty.prompt"].rows) == ("warning", 1)


def test_lengths_in_characters_and_histogram():
    rows = [Record(text="x" * size, label="ab"[size % 2]) for size in range(1, 101)]
    lengths = audit(Dataset(Task.CLASSIFICATION, tuple(rows))).lengths
    assert (lengths["unit"], lengths["min"], lengths["median"], lengths["max"]) == (
        "characters", 1, 50, 100
    )  # fmt: skip
    histogram = lengths["histogram"]
    assert len(histogram["edges"]) == len(histogram["counts"]) + 1
    assert sum(histogram["counts"]) == 100


def test_rows_over_the_length_say_what_would_be_cut(tiny_encoder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder)
    rows = [*clean(600), with_text("word " * 40), with_text("word " * 30)]
    found = audit(splits(rows), tokenizer=tokenizer, max_length=20)
    finding = next(f for f in found.findings if f.id == "length.over")
    assert finding.rows == 2
    assert "max_length=20" in finding.message
    # 40 and 30 words and two special tokens each, cut to 20.
    assert "34 tokens" in finding.message
    assert found.lengths["unit"] == "tokens"
    assert found.lengths["max"] == 42


def test_the_dictionary_keeps_the_contract():
    found = audit(splits([*clean(590), with_text("")], clean(10, 590)))
    content = json.loads(json.dumps(found.to_dict()))
    assert content["rows"] == 601
    assert content["splits"] == {"train": 591, "validation": 10, "test": 0}
    assert list(content["labels"]) == ["a", "b"]
    assert set(content["findings"][0]) == {
        "id", "severity", "rows", "message", "fix", "option", "examples"
    }  # fmt: skip
    ranks = ["error", "warning", "info"]
    order = [ranks.index(f["severity"]) for f in content["findings"]]
    assert order == sorted(order)
    assert found.worst == "error"
    assert audit(splits(clean(600))).worst is None


def test_an_empty_data_set_is_no_crash():
    assert audit(splits(())).rows == 0


def test_a_split_keeps_prompts_together_so_that_none_leaks():
    def asked(i: int, j: int) -> Record:
        said = Message("assistant", clean_text(1000 * j + i), train=True)
        return Record(messages=(Message("user", f"Please tell {clean_text(i)}"), said))

    rows = tuple(asked(i, j) for j in range(1, 4) for i in range(60))
    cut = split(Dataset(Task.INSTRUCTION, rows), 0.2, 0.2)
    assert len(cut.test) > 20
    assert "leakage.prompt" not in {f.id for f in audit(cut, cut_here=True).findings}
