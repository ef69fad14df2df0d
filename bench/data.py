"""Measure the data room: copies, leakage, label errors, personal data, reading, splits, preparing.

    python bench/data.py [--quick] [--json]
    python bench/data.py --large 5000 [--row-words 14] [--steps check export train]

Real rows come from the data catalogue (fetched once), and from `../shared/data` where it is there.
Faults are planted into them with fixed seeds, so every figure can be repeated. The last line is
one JSON object: `{"figures": {...}, "machine": {...}}`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tunewright.artifacts import environment
from tunewright.config.task import Task
from tunewright.data.audit import audit
from tunewright.data.catalogue import CATALOGUE
from tunewright.data.duplicates import near_pairs, normal_text
from tunewright.data.label_errors import suspect_labels
from tunewright.data.personal import find_personal
from tunewright.data.records import Dataset, Record, Splits
from tunewright.data.sources import load
from tunewright.data.split import split

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
ALIKE = 0.4
"""Real rows that share this much of their words (plain Jaccard) are kept out of the planted set, so
that a pair found there is either planted or false. It is not the measure under test."""

Figures = dict[str, dict[str, Any]]


def figure(value: float, goal: float | None, better: str, spread: Sequence[float] = ()) -> dict:
    """One measured figure in the form that every bench prints."""
    found = {"value": round(value, 4), "goal": goal, "better": better}
    return found | ({"spread": [round(s, 4) for s in (min(spread), max(spread))]} if spread else {})


def repeated(work: Callable[[], Any], times: int) -> list[float]:
    """Seconds of each run, after one that warms up."""
    work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


def real_texts() -> list[str]:
    """Different short English texts: the catalogue's, and the shared sets' where they are there."""
    texts = [r.text for name in CATALOGUE for r in load(name)]
    for name in ("tweet_sentiment", "goemotions_group", "banking77"):
        if (SHARED / name).is_dir():
            texts += [record.text for record in load(SHARED / name)]
    return list({normal_text(text): text for text in texts}.values())


def unlike(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """Up to `count` texts of four words and more, no two of which share many words."""
    import numpy as np
    from sklearn.feature_extraction.text import CountVectorizer

    chosen = [text for text in texts if len(normal_text(text).split()) >= 4]
    random.Random(seed).shuffle(chosen)
    chosen = chosen[: int(count * 1.3)]
    sets = (
        CountVectorizer(binary=True, token_pattern=r"\w+").fit_transform(chosen).astype("float32")
    )
    sizes = np.asarray(sets.sum(axis=1)).ravel()
    taken = np.ones(len(chosen), dtype=bool)
    for first in range(0, len(chosen), 500):
        shared = (sets[first : first + 500] @ sets.T).tocoo()
        rows = shared.row + first
        alike = shared.data / (sizes[rows] + sizes[shared.col] - shared.data)
        taken[rows[(alike >= ALIKE) & (shared.col < rows)]] = False
    return [text for text, good in zip(chosen, taken, strict=True) if good][:count]


def typos(text: str, noise: random.Random) -> str:
    letters = list(text)
    for _ in range(max(1, len(letters) // 40)):
        place = noise.randrange(len(letters))
        letters[place] = noise.choice(string.ascii_lowercase)
    return "".join(letters)


def word_edits(text: str, noise: random.Random, words: Sequence[str]) -> str:
    found = text.split()
    for _ in range(max(1, len(found) // 10)):
        place = noise.randrange(len(found))
        kind = noise.randrange(3)
        if kind == 0:
            found[place] = noise.choice(words)
        elif kind == 1:
            found.insert(place, noise.choice(words))
        elif len(found) > 4:
            del found[place]
    return " ".join(found)


def reordered(text: str, noise: random.Random) -> str:
    found = text.split()
    place = noise.randrange(1, len(found))
    return " ".join(found[place:] + found[:place])


def recased(text: str, noise: random.Random) -> str:
    return noise.choice([str.upper, str.lower, str.title])(text)


def repunctuated(text: str, noise: random.Random) -> str:
    if noise.random() < 0.5:
        return "".join(letter for letter in text if letter not in ".,!?;:'\"")
    return text + noise.choice(["!!!", "...", " :)", " ?!"])


def disguised(text: str, noise: random.Random, words: Sequence[str]) -> str:
    """A copy with one to three kinds of edit."""
    edits: list[Callable[[str], str]] = [
        lambda t: typos(t, noise),
        lambda t: word_edits(t, noise, words),
        lambda t: reordered(t, noise),
        lambda t: recased(t, noise),
        lambda t: repunctuated(t, noise),
    ]
    for edit in noise.sample(edits, noise.choice([1, 1, 2, 3])):
        text = edit(text)
    return text


def near_copies(texts: Sequence[str], quick: bool) -> Figures:
    """Recall and precision on planted copies, in pairs, and over a split's border."""
    count, planted_count = (6000, 2000) if quick else (20_000, 4000)
    recalls, precisions, leaks, sure = [], [], [], []
    for seed in range(1 if quick else 3):
        base = unlike(texts, count, seed)
        noise = random.Random(seed)
        words = [word for text in base[:2000] for word in text.split()]
        origins = noise.sample(range(len(base)), planted_count)
        planted = [disguised(base[origin], noise, words) for origin in origins]
        truth = {(origin, len(base) + i) for i, origin in enumerate(origins)}
        pairs = near_pairs([*base, *planted])
        found = set(zip(pairs.left.tolist(), pairs.right.tolist(), strict=True))
        recalls.append(len(found & truth) / len(truth))
        precisions.append(len(found & truth) / len(found))
        own = noise.sample(sorted(set(range(len(base))) - set(origins)), 2000)
        recall, precision = leakage(base, planted, own)
        leaks.append(recall)
        sure.append(precision)
    return {
        "near_copy_recall": figure(sum(recalls) / len(recalls), 0.95, "higher", recalls),
        "near_copy_precision": figure(
            sum(precisions) / len(precisions), 0.95, "higher", precisions
        ),
        "leakage_recall": figure(sum(leaks) / len(leaks), 0.95, "higher", leaks),
        "leakage_precision": figure(sum(sure) / len(sure), 0.95, "higher", sure),
    }


def leakage(base: Sequence[str], planted: Sequence[str], own: Sequence[int]) -> tuple[float, float]:
    """The audit's leakage findings on a test part of planted copies and of rows of its own."""
    held_out = set(own)
    train = [Record(text=text) for i, text in enumerate(base) if i not in held_out]
    test = [Record(text=text) for text in planted] + [Record(text=base[i]) for i in own]
    parts = (Dataset(Task.TEXT, tuple(rows)) for rows in (train, (), test))
    found = audit(Splits(*parts)).findings
    places = {place for f in found if f.id.startswith("leakage") for place in f.places}
    true = sum(("test", i) in places for i in range(len(planted)))
    return true / len(planted), true / max(1, len(places))


def speed(texts: Sequence[str], quick: bool) -> Figures:
    """Rows a second of the parts of the data room that look at every row."""
    times = 2 if quick else 3
    tweets = list(texts)[:20_000]
    near = [len(tweets) / s for s in repeated(lambda: near_pairs(tweets), times)]
    many = list(texts)[: 20_000 if quick else 100_000]
    records = tuple(Record(text=t, label="ab"[i % 2], row=i + 1) for i, t in enumerate(many))
    dataset = Dataset(Task.CLASSIFICATION, records)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text("".join(json.dumps(r.to_row()) + "\n" for r in records), encoding="utf-8")
        reading = repeated(lambda: load(path), times)
    cutting = repeated(lambda: split(dataset, 0.1, 0.1), 1)
    checking = repeated(lambda: audit(split(dataset, 0.1, 0.1)), 1)
    return {
        "near_copy_rows_per_second": figure(max(near), 20_000, "higher", near),
        "read_rows_per_second": figure(len(many) / min(reading), None, "higher"),
        "split_rows_per_second": figure(len(many) / min(cutting), None, "higher"),
        f"read_split_audit_seconds_{len(many)}_rows": figure(
            min(reading) + min(checking), 90 * len(many) / 100_000, "lower"
        ),
    }


def wrong_labels(texts: Sequence[str], quick: bool) -> Figures:
    """Precision of the first k suspect rows, k being the number of labels flipped."""
    found: Figures = {}
    name = str(SHARED / "banking77") if (SHARED / "banking77").is_dir() else "vader-movie-reviews"
    data = load(f"{name}/train.jsonl" if "banking77" in name else name)
    for share in (0.05, 0.1):
        precisions = []
        for seed in range(1 if quick else 3):
            noise = random.Random(seed)
            labels = [str(record.label) for record in data]
            flipped = set(noise.sample(range(len(labels)), int(share * len(labels))))
            for row in sorted(flipped):
                labels[row] = noise.choice([x for x in data.labels if x != labels[row]])
            ranking = suspect_labels([record.text for record in data], labels).ranking
            precisions.append(len(set(ranking[: len(flipped)]) & flipped) / len(flipped))
        mean = sum(precisions) / len(precisions)
        goal = 0.7 if "banking77" in name else None
        found[f"label_errors_precision_{share:.0%}"] = figure(mean, goal, "higher", precisions)
    return found


def personal(texts: Sequence[str], quick: bool) -> Figures:
    """False alarms on real tweets, and speed. `tests/data/test_personal.py` measures recall."""
    tweets = [record.text for record in load("vader-tweets")]
    alarms = sum(bool(find_personal(text)) for text in tweets)
    seconds = repeated(lambda: [find_personal(text) for text in tweets], 3)
    rates = [len(tweets) / s for s in seconds]
    return {
        "personal_alarms_per_1000_tweets": figure(1000 * alarms / len(tweets), 1.0, "lower"),
        "personal_rows_per_second": figure(max(rates), None, "higher", rates),
    }


def preparing(texts: Sequence[str], quick: bool) -> Figures:
    """From a file to token ids: ours, and `datasets.map` with a function for each row."""
    folder = SHARED / "banking77"
    if not folder.is_dir():
        return {}
    import datasets

    from tunewright.data.render import Renderer
    from tunewright.models.catalogue import model_folder
    from tunewright.models.load import load_tokenizer

    datasets.disable_caching()
    datasets.disable_progress_bars()
    tokenizer = load_tokenizer(model_folder("all-minilm-l6-v2"))
    path = folder / "train.jsonl"

    def ours() -> list[list[int]]:
        data = load(path)
        renderer = Renderer(tokenizer, data.task, 512, labels=data.labels)
        return [example.input_ids for example in renderer.tokenise(data)]

    def theirs() -> list[list[int]]:
        with tempfile.TemporaryDirectory() as cache:
            rows = datasets.Dataset.from_json(str(path), cache_dir=cache)
            mapped = rows.map(lambda row: {"ids": tokenizer(row["text"])["input_ids"]})
            return list(mapped["ids"])

    if ours() != theirs():
        raise AssertionError("the two ways give other ids, so their speeds cannot be compared")
    ratios, seconds = [], []
    for _ in range(3 if quick else 7):
        start = time.perf_counter()
        ours()
        middle = time.perf_counter()
        theirs()
        ratios.append((time.perf_counter() - middle) / (middle - start))
        seconds.append(middle - start)
    median = sorted(ratios)[len(ratios) // 2]
    return {
        "prepare_times_faster_than_datasets_map": figure(median, 3.0, "higher", ratios),
        "prepare_seconds_banking77": figure(min(seconds), None, "lower", seconds),
    }


def made_rows(path: Path, megabytes: int, words_in_row: int = 70) -> int:
    """Write JSON lines of about 500 bytes, a tenth of them copies, and return how many.

    With 14 words in a row a line has about 140 bytes, with 300 about 2,200.
    """
    noise = random.Random(0)
    syllables = ["ba", "do", "ri", "mun", "tel", "sa", "ko", "vin", "ler", "pa", "shu", "ges"]
    words = ["".join(noise.choices(syllables, k=noise.randint(1, 4))) for _ in range(30_000)]
    rows = written = 0
    last = ""
    with path.open("w", encoding="utf-8") as file:
        while written < megabytes * 1_000_000:
            if rows % 10 != 9:
                last = " ".join(noise.choices(words, k=words_in_row))
            row = {"text": last, "label": noise.choice("abcdefgh"), "id": rows}
            written += file.write(json.dumps(row) + "\n")
            rows += 1
    return rows


def measured(*arguments: str) -> tuple[float, float, float]:
    """Seconds, seconds of the processor, and peak resident megabytes of another Python process."""
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):  # 1: the audit found an error
        raise AssertionError(f"{arguments} ended with {process.returncode}")
    busy = usage.ru_utime + usage.ru_stime
    return time.perf_counter() - start, busy, usage.ru_maxrss / 1000


_EXPORT = """
import sys
from tunewright.fine_tuning import DataCollectionConfig, DataCollector
DataCollector(DataCollectionConfig(sources=[sys.argv[1]], output_path=sys.argv[2])).export()
"""


def training_call(path: Path, folder: Path) -> tuple[str, ...]:
    """Ten steps of a random encoder of two narrow layers, its window wide enough for any row."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    with path.open(encoding="utf-8") as rows:
        words = {word for _ in range(1000) for word in json.loads(next(rows))["text"].split()}
    known = ["[PAD]", "[UNK]", "[CLS]", *sorted(words)[:30_000]]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(known)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    base = folder / "base"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]"
    ).save_pretrained(base)
    config = BertConfig(
        vocab_size=len(known),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=2048,
    )
    BertModel(config).save_pretrained(base)
    recipe = {
        "task": "classification",
        "model": str(base),
        "data": {"train": str(path), "validation": 0.001, "truncation": "cut"},
        "output_dir": str(folder / "run"),
        "max_steps": 10,
        "per_device_train_batch_size": 8,
        "save_strategy": "no",
        "device": "cpu",
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    return ("-m", "tunewright", "train", str(folder / "recipe.yaml"))


def large_file(megabytes: int, words_in_row: int, steps: Sequence[str]) -> Figures:
    """`tunewright check`, a shuffled and split export, and a short training, of one large file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jsonl"
        rows = made_rows(path, megabytes, words_in_row)
        figures: Figures = {
            "large_file_megabytes": figure(megabytes, None, "higher"),
            "large_file_rows": figure(rows, None, "higher"),
        }
        for name in steps:
            if name == "train":
                work = training_call(path, Path(folder))
            elif name == "export":
                work = ("-c", _EXPORT, str(path), str(Path(folder) / "out"))
            else:
                work = ("-m", "tunewright", "check", str(path))
            seconds, busy, resident = measured(*work)
            named = f"large_file_{name}"
            figures[f"{named}_resident_megabytes"] = figure(resident, 1500.0, "lower")
            figures[f"{named}_rows_per_second"] = figure(rows / seconds, None, "higher")
            figures[f"{named}_processor_seconds"] = figure(busy, None, "lower")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--large", type=int, metavar="MB", help="only work on a made file of this size"
    )
    parser.add_argument(
        "--row-words", type=int, default=70, metavar="N", help="words in a row of the made file"
    )
    parser.add_argument(
        "--steps",
        nargs="+",
        choices=("check", "export", "train"),
        default=("check", "export"),
        help="what is done with it; `train` takes ten steps of a tiny random model",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rows and repeats")
    parser.add_argument("--json", action="store_true", help="print only the last line")
    options = parser.parse_args()
    figures: Figures = {}
    if options.large:
        figures = large_file(options.large, options.row_words, options.steps)
        print(json.dumps({"figures": figures, "machine": environment()}))
        return
    texts = real_texts()
    random.Random(0).shuffle(texts)
    for measure in (near_copies, wrong_labels, personal, speed, preparing):
        for name, found in measure(texts, options.quick).items():
            figures[name] = found
            if not options.json:
                print(f"{name:40} {found['value']:>12,} goal {found['goal']}", flush=True)
    print(json.dumps({"figures": figures, "machine": environment()}))


if __name__ == "__main__":
    main()
