"""Metrics of generated texts against one reference each.

BLEU and TER come from sacrebleu and ROUGE from rouge_score, row by row, so that a resample
adds up counts instead of reading texts again. chrF's counts are taken here, because sacrebleu
does not give them; the score is the same.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np

from tunewright.errors import DataError
from tunewright.metrics.labels import hits
from tunewright.metrics.sufficient import Floats, Sufficient, as_list, mean_of, ratio, require_rows

_CHRF_ORDERS = 6
_CHRF_BETA = 2
_BLEU_ORDERS = 4
_NUMBER = re.compile(r"(?:(?<![\w.])-)?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)")
"""A minus after a letter or digit is a dash; commas count only between groups of three."""


def _texts(references: Any, predictions: Any) -> tuple[list[str], list[str]]:
    refs, preds = as_list(references, "references"), as_list(predictions, "predictions")
    require_rows(refs, preds)
    for what, rows in (("references", refs), ("predictions", preds)):
        for i, row in enumerate(rows, start=1):
            if not isinstance(row, str):
                raise DataError(f"Row {i} of the {what} is {row!r}; a text is needed.")
    return refs, preds


def exact_match(references: Any, predictions: Any) -> Sufficient:
    """Share of generated answers equal to the reference answer but for space at the ends.

    Predictions are the generated answer only, never prompt and answer together.
    """
    refs, preds = _texts(references, predictions)
    return hits([r.strip() == p.strip() for r, p in zip(refs, preds, strict=True)])


def last_number(text: str) -> float | None:
    """The number after the last `####`, or else the last number of the text, or None.

    Thousands separators are dropped, so `1,250` is 1250.
    """
    _, mark, after = text.rpartition("####")
    found = _NUMBER.findall(after if mark else text)
    if mark and not found:
        found = _NUMBER.findall(text)
    if not found:
        return None
    return float((found[0] if mark and _NUMBER.search(after) else found[-1]).replace(",", ""))


def numeric_match(references: Any, predictions: Any) -> Sufficient:
    """Share of generated answers whose final number is the reference's; for chains of thought.

    The final number is what stands after `####` (the form of GSM8K), or else the last one.

    Raises:
        DataError: a reference has no number.
    """
    refs, preds = _texts(references, predictions)
    expected = [last_number(text) for text in refs]
    if None in expected:
        row = expected.index(None)
        raise DataError(
            f"Reference {row + 1} has no number: {refs[row][:80]!r}. numeric_match needs one in "
            "each reference; use exact_match for other answers."
        )
    return hits([e == last_number(text) for e, text in zip(expected, preds, strict=True)])


def _rouge(references: Any, predictions: Any, kind: str) -> Sufficient:
    from rouge_score.rouge_scorer import RougeScorer

    refs, preds = _texts(references, predictions)
    scorer = RougeScorer([kind])
    scores = [scorer.score(r, p)[kind].fmeasure for r, p in zip(refs, preds, strict=True)]
    return mean_of(np.array(scores, dtype=float))


def rouge1(references: Any, predictions: Any) -> Sufficient:
    """Mean F1 of shared words, 0 to 1, without stemming."""
    return _rouge(references, predictions, "rouge1")


def rouge2(references: Any, predictions: Any) -> Sufficient:
    """Mean F1 of shared word pairs, 0 to 1, without stemming."""
    return _rouge(references, predictions, "rouge2")


def rougeL(references: Any, predictions: Any) -> Sufficient:  # noqa: N802 - its name
    """Mean F1 of the longest common subsequence of words, 0 to 1, without stemming."""
    return _rouge(references, predictions, "rougeL")


def bleu(references: Any, predictions: Any) -> Sufficient:
    """Corpus BLEU, 0 to 100: 13a tokens, four orders, exponential smoothing (sacrebleu)."""
    from sacrebleu.metrics import BLEU

    refs, preds = _texts(references, predictions)
    one = BLEU(effective_order=True)
    rows = [one.sentence_score(p, [r]) for r, p in zip(refs, preds, strict=True)]
    sums = np.array([[s.sys_len, s.ref_len, *s.counts, *s.totals] for s in rows], dtype=float)
    return Sufficient.of_sums(sums, _bleu)


def _bleu(totals: Floats) -> Floats:
    """Papineni et al. 2002 with smoothing method 3 of Chen and Cherry 2014."""
    system, reference = totals[:, 0], totals[:, 1]
    matches, counts = totals[:, 2 : 2 + _BLEU_ORDERS], totals[:, 2 + _BLEU_ORDERS :]
    smoothed = np.cumsum((matches == 0) & (counts > 0), axis=1)
    precision = ratio(np.where(matches == 0, 0.5**smoothed, matches), counts)
    whole = (precision > 0).all(axis=1) & (matches.sum(axis=1) > 0)
    logs = np.log(np.where(whole[:, None], precision, 1.0)).mean(axis=1)
    short = np.minimum(0.0, 1 - ratio(reference, system, np.inf))
    return np.where(whole, 100 * np.exp(short + logs), 0.0)


def _characters(text: str, order: int) -> Counter[str]:
    return Counter(text[i : i + order] for i in range(len(text) - order + 1))


def chrf(references: Any, predictions: Any) -> Sufficient:
    """Corpus chrF2, 0 to 100: F of character 1- to 6-grams, spaces left out (Popović 2015)."""
    refs, preds = _texts(references, predictions)
    rows = []
    for ref, pred in zip(refs, preds, strict=True):
        r, p = "".join(ref.split()), "".join(pred.split())
        row = []
        for order in range(1, _CHRF_ORDERS + 1):
            in_ref, in_pred = _characters(r, order), _characters(p, order)
            # As in sacrebleu: no charge for orders that the reference is too short for.
            predicted = in_pred.total() if in_ref else 0
            row += [predicted, in_ref.total(), (in_pred & in_ref).total()]
        rows.append(row)
    return Sufficient.of_sums(np.array(rows, dtype=float), _chrf)


def _chrf(totals: Floats) -> Floats:
    predicted, reference, shared = (totals[:, i::3] for i in range(3))
    used = (predicted > 0) & (reference > 0)
    orders = used.sum(axis=1).astype(float)
    precision = ratio(np.where(used, ratio(shared, predicted), 0.0).sum(axis=1), orders)
    recall = ratio(np.where(used, ratio(shared, reference), 0.0).sum(axis=1), orders)
    factor = _CHRF_BETA**2
    return 100 * ratio((1 + factor) * precision * recall, factor * precision + recall)


def ter(references: Any, predictions: Any) -> Sufficient:
    """Corpus translation edit rate, edits for 100 reference words; 0 is perfect (sacrebleu)."""
    from sacrebleu.metrics import TER

    refs, preds = _texts(references, predictions)
    one = TER()
    rows = [one.sentence_score(p, [r]) for r, p in zip(refs, preds, strict=True)]
    sums = np.array([[s.num_edits, s.ref_length] for s in rows], dtype=float)

    def of_totals(totals: Floats) -> Floats:
        edits, words = totals.T
        return np.where(words > 0, 100 * ratio(edits, words), np.where(edits > 0, 100.0, 0.0))

    return Sufficient.of_sums(sums, of_totals)
