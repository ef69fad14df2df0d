"""Rows that say the same: exact copies, and near copies by weighted MinHash.

A text is the set of character 4-grams inside its words, so case, punctuation and word order do
not count and a typo costs four grams. A gram weighs its inverse document frequency: what every
row says (a template, stop words) weighs little. Two texts are near copies when the weighted
Jaccard similarity of their sets reaches a threshold. Candidates come from locality-sensitive
hashing of MinHash signatures (Broder 1997; weights as in Chum, Philbin & Zisserman 2008), and
every candidate is checked exactly, so hashing can miss a pair but never invent one.

Two questions about the same thing share their rare words, and in a short text these decide. So a
pair must also agree in its common words and in what stands beside what: the plain Jaccard
similarity of 3-grams that may reach over the space between words has a threshold of its own. And
texts that differ in their numbers alone say different things.

This module knows texts. It does not know records.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

THRESHOLD = 0.65
"""Weighted Jaccard similarity from which two texts are near copies."""

RUNNING_THRESHOLD = 0.7
"""Plain Jaccard similarity of 3-grams over word borders from which two texts are near copies. A
phrase moved costs a few grams, other words for the same thing cost many."""
_SAME_WORDS = 0.95
"""Weighted similarity from which the order of the words does not count at all."""

_GRAM = 4
_RUNNING_GRAM = 3
_BANDS = 26
_ROWS = 4
"""Signatures have `_BANDS` x `_ROWS` values; a pair is a candidate when one band agrees.
At similarity s that happens with probability 1 - (1 - s^4)^26: 0.99 at 0.65."""
_FEWEST_GRAMS = 8
"""Shorter texts are compared only exactly: one word would decide."""
_LARGEST_BUCKET = 40
"""In larger buckets each row is compared with the first and the one before, not with all."""
_LIGHTEST, _HEAVIEST = 0.05, 3.0
"""Bounds of a gram's weight: above, so that one misspelt word does not outweigh the rest."""
_BLOCK, _AT_ONCE = 1 << 12, 13
"""Ids in a block, and places of a signature worked out in one pass: `_AT_ONCE` divides them."""
_COMPARED = 4_000_000
"""Grams of the texts that are compared in one pass, on average: each takes some 30 bytes."""
_NOT_WORD = re.compile(r"[\W_]+")
_ASCII_WORDS = "".join(chr(c).lower() if chr(c).isalnum() else " " for c in range(128))
"""ASCII letters in one case, and a space for what is in no word: `_NOT_WORD` without the regex."""
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class NearPairs:
    """Pairs of near copies, ordered by `left`, then `right`.

    Attributes:
        left: [p] positions in the texts, each smaller than its `right`.
        right: [p] positions.
        similarity: [p] weighted Jaccard similarity, 0 to 1.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    similarity: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.left)


def normal_text(text: str) -> str:
    """Text without the differences that make no difference: case, spacing, Unicode form."""
    same = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    return " ".join(same.split())


def exact_groups(texts: Sequence[str]) -> dict[str, list[int]]:
    """Positions by `normal_text`, in order of first appearance. Empty texts are left out."""
    groups: dict[str, list[int]] = {}
    for position, text in enumerate(texts):
        key = normal_text(text)
        if key:
            groups.setdefault(key, []).append(position)
    return groups


def near_pairs(texts: Sequence[str], *, threshold: float = THRESHOLD, seed: int = 0) -> NearPairs:
    """Find pairs of texts that are near copies.

    Args:
        texts: all different in `normal_text`; equal ones are found too, but cost time.
        threshold: smallest weighted Jaccard similarity, 0 to 1.
        seed: of the hash functions.
    """
    import numpy as np

    none = np.zeros(0, dtype=np.int64)
    grams = _grams(texts)
    if grams is None:
        return NearPairs(none, none, np.zeros(0))
    rows, signatures = _signatures(grams, np.random.default_rng(seed))
    left, right = _candidates(signatures)
    left, right = rows[left], rows[right]
    similarity = _similarities(grams, left, right)
    near = similarity >= threshold
    left, right, similarity = left[near], right[near], similarity[near]
    near = _running_similarities(texts, left, right) >= RUNNING_THRESHOLD
    near |= similarity >= _SAME_WORDS
    numbers = {
        row: sorted(_NUMBER.findall(texts[row])) for row in {*left.tolist(), *right.tolist()}
    }
    for pair in near.nonzero()[0].tolist():
        one, other = numbers[int(left[pair])], numbers[int(right[pair])]
        near[pair] = one == other or len(one) != len(other)
    return NearPairs(left[near], right[near], similarity[near])


@dataclass(frozen=True, slots=True)
class _Grams:
    """Distinct grams of each text, g in all.

    Attributes:
        ids: [g] gram number, sorted within a text.
        starts: [n + 1] where each text begins in `ids`.
        weights: by gram number.
        counts: by gram number, the texts that have it.
    """

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    weights: NDArray[np.float32]
    counts: NDArray[np.int64]

    def shared(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Grams that more than one text has: [m] texts with enough, [k] ids, [m + 1] starts."""
        import numpy as np

        useful = self.counts[self.ids] > 1
        behind = np.append(0, np.cumsum(useful))[self.starts]
        rows = np.flatnonzero((np.diff(self.starts) >= _FEWEST_GRAMS) & (np.diff(behind) > 0))
        taken = np.zeros(len(self.starts) - 1, dtype=bool)
        taken[rows] = True
        useful &= np.repeat(taken, np.diff(self.starts))
        return rows, self.ids[useful], np.append(0, np.cumsum(np.diff(behind)[rows]))


def _grams(texts: Sequence[str], size: int = _GRAM, across: bool = False) -> _Grams | None:
    """Grams of `size` characters inside words, or `across` the spaces between them too."""
    import numpy as np

    keys = _hashed(texts, size, across)
    if not len(keys):
        return None
    low = np.uint64(0xFFFFFFFF)
    new = np.concatenate([[True], keys[1:] >> np.uint64(32) != keys[:-1] >> np.uint64(32)])
    counts = np.diff(np.append(np.flatnonzero(new), len(keys)))
    numbers = (np.cumsum(new) - 1).astype(np.uint64)
    by_text = (keys & low) << np.uint64(32) | numbers
    by_text.sort()
    rows = (by_text >> np.uint64(32)).astype(np.int64)
    ids = (by_text & low).astype(np.int64)
    starts = np.searchsorted(rows, np.arange(len(texts) + 1))
    rarity = np.log((1 + len(texts)) / counts).clip(_LIGHTEST, _HEAVIEST)
    return _Grams(ids, starts, rarity.astype(np.float32), counts)


def _hashed(texts: Sequence[str], size: int, across: bool) -> NDArray[np.uint64]:
    """Sorted distinct keys: the gram's hash in the high 32 bits, the text's position in the low."""
    import numpy as np

    pieces = []
    for first in range(0, len(texts), 50_000):
        part = texts[first : first + 50_000]
        spaced = [f" {_words(text)} " for text in part]
        lengths = np.fromiter((len(text) for text in spaced), dtype=np.int64, count=len(spaced))
        codes = np.frombuffer("".join(spaced).encode("utf-32-le"), dtype=np.uint32)
        if len(codes) < size:
            continue
        owner = np.repeat(np.arange(first, first + len(part), dtype=np.uint64), lengths)
        count = len(codes) - size + 1
        hashed = np.zeros(count, dtype=np.uint32)
        for offset in range(size):
            hashed = hashed * np.uint32(0x01000193) ^ _mixed(codes[offset : offset + count])
        inside = owner[:count] == owner[size - 1 :]
        for offset in () if across else range(1, size - 1):
            inside &= codes[offset : offset + count] != 32
        high = _mixed(hashed[inside]).astype(np.uint64) << np.uint64(32)
        pieces.append(high | owner[:count][inside])
    return _distinct(np.concatenate(pieces)) if pieces else np.zeros(0, dtype=np.uint64)


def _distinct(values: NDArray[Any]) -> NDArray[Any]:
    """Sorted distinct values. Sorting beats the hash table of `np.unique` here threefold."""
    import numpy as np

    values.sort()
    return values[np.append(True, values[1:] != values[:-1])] if len(values) else values


def _words(text: str) -> str:
    """Words in one case with single spaces between them."""
    if text.isascii():
        return " ".join(text.translate(_ASCII_WORDS).split())
    text = unicodedata.normalize("NFKC", text).casefold()
    # A lone surrogate is half a character and has no place in UTF-32.
    text = text.encode("utf-8", "replace").decode("utf-8")
    return _NOT_WORD.sub(" ", text).strip()


def _mixed(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Spread 32-bit values (the finalizer of MurmurHash3)."""
    import numpy as np

    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))


def _signatures(
    grams: _Grams, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """[m] the compared texts, and their [m x signature].

    Two texts agree in a value with the chance of their weighted Jaccard similarity, taken over
    the grams that more than one text has. The gram that wins a place is the one with the least
    exponential variate divided by its weight. Variates are looked up in a table by the gram's
    number, stirred anew for each place.
    """
    import numpy as np

    table = random.exponential(size=1 << 16).astype(np.float32)
    places = _BANDS * _ROWS
    factors = random.integers(1, 1 << 31, size=places, dtype=np.uint32) * np.uint32(2) + 1
    rows, ids, starts = grams.shared()
    used = np.zeros(len(grams.weights), dtype=bool)
    used[ids] = True
    lightness = (1 / grams.weights)[used, None]
    numbers = _mixed(np.flatnonzero(used).astype(np.uint32))[:, None]
    blocks = _blocks((np.cumsum(used) - 1)[ids], starts)
    space = np.empty(max((b.size for _, b in blocks), default=0) * _AT_ONCE, dtype=np.float32)
    found = np.empty((len(rows), places), dtype=np.float32)
    for first in range(0, places, _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        variates = table[(numbers * factors[some]) >> np.uint32(16)]
        variates *= lightness
        for members, block in blocks:
            drawn = space[: block.size * _AT_ONCE].reshape(*block.shape, _AT_ONCE)
            variates.take(block, axis=0, out=drawn, mode="wrap")
            found[members, some] = drawn.min(axis=0)
    return rows, found.view(np.uint32)


def _blocks(
    ids: NDArray[np.int64], starts: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Texts of like length as matrices that fit a processor cache: [m] texts, [k x m] their ids.

    Shorter texts repeat their last id, which changes no minimum.
    """
    import numpy as np

    lengths = np.diff(starts)
    order = np.argsort(lengths, kind="stable")
    blocks = []
    first = 0
    while first < len(order):
        last = first + max(1, _BLOCK // int(lengths[order[first]]))
        members = order[first:last]
        steps = np.arange(lengths[members[-1]])[:, None]
        blocks.append((members, ids[np.minimum(steps, lengths[members] - 1) + starts[members]]))
        first = last
    return blocks


def _candidates(signatures: NDArray[np.uint32]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pairs that agree in a whole band, each once, ordered."""
    import numpy as np

    count = len(signatures)
    pairs = [np.zeros(0, dtype=np.int64)]
    for band in range(_BANDS):
        key = np.zeros(count, dtype=np.uint64)
        for value in signatures[:, band * _ROWS : (band + 1) * _ROWS].T:
            key = (key ^ value) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(29)
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        heads = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        sizes = np.diff(np.concatenate([heads, [count]]))
        for size in np.unique(sizes[sizes > 1]):
            members = order[heads[sizes == size][:, None] + np.arange(size)]
            if size <= _LARGEST_BUCKET:
                a, b = np.triu_indices(size, 1)
            else:
                rest = np.arange(1, size)
                a = np.concatenate([np.zeros(size - 1, dtype=np.int64), rest[:-1]])
                b = np.concatenate([rest, rest[1:]])
            low = np.minimum(members[:, a], members[:, b]).ravel()
            high = np.maximum(members[:, a], members[:, b]).ravel()
            pairs.append(_distinct(low * count + high))
    found = _distinct(np.concatenate(pairs))
    return found // count, found % count


def _running_similarities(
    texts: Sequence[str], left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.float64]:
    """[p] plain Jaccard similarity of pairs of texts, by grams that may reach over a space."""
    import numpy as np

    rows = _distinct(np.concatenate([left, right]))
    grams = _grams([texts[row] for row in rows], _RUNNING_GRAM, across=True)
    if grams is None:
        return np.zeros(len(left))
    even = replace(grams, weights=np.ones_like(grams.weights))
    return _similarities(even, np.searchsorted(rows, left), np.searchsorted(rows, right))


def _similarities(
    grams: _Grams, left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.float64]:
    """[p] exact weighted Jaccard similarity of pairs of texts."""
    import numpy as np
    from scipy.sparse import csr_array

    shape = (len(grams.starts) - 1, len(grams.weights))
    ones = np.ones(len(grams.ids), dtype=np.float32)
    sets = csr_array((ones, grams.ids, grams.starts), shape=shape)
    totals = sets @ grams.weights.astype(np.float64)
    found = np.zeros(len(left))
    step = max(1, _COMPARED * shape[0] // len(grams.ids))
    for first in range(0, len(left), step):
        part = slice(first, first + step)
        shared = sets[left[part]].multiply(sets[right[part]]) @ grams.weights.astype(np.float64)
        found[part] = shared / (totals[left[part]] + totals[right[part]] - shared)
    return found
