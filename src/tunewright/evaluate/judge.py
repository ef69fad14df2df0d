"""Which of two answers a judging model prefers, asked twice: once in either order.

The judge is any endpoint that speaks OpenAI's chat completions. This module knows answers
and votes. It does not know the models that answered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunewright.artifacts import write_json
from tunewright.data.labelling import LineFile
from tunewright.errors import ConfigError, DataError
from tunewright.evaluate.answers import Progress
from tunewright.evaluate.endpoint import Endpoint
from tunewright.evaluate.people import MODEL, OTHER, TIE, VOTES, Answered, count_votes
from tunewright.metrics import estimate

JUDGE = "judge"
"""The name that its votes are kept under, as those of a person."""
RESULT = "judge.json"
_UNCLEAR = "unclear"
_MOST_UNCLEAR = 0.5
"""Above this share of replies without a choice a judge is refused, from ten replies on."""
_ASK = (
    "You compare two answers to the same request. Judge how helpful, correct and fitting each is; "
    "length and order do not count. End your reply with one line that is only one character: 1 "
    "where answer 1 is better, 2 where answer 2 is better, 0 where neither is."
)
_CHOICE = re.compile(r"(?<![\w.])[012](?![\w.]*\w)")


def choice(reply: str) -> int | None:
    """The last 0, 1 or 2 that stands alone in a reply, or None."""
    found = _CHOICE.findall(reply)
    return int(found[-1]) if found else None


def ask_judge(
    endpoint: Endpoint,
    rows: Sequence[Answered],
    folder: Path,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Let the judge compare every two answers in both orders, and count its votes.

    A vote counts where both orders give it; where they contradict each other, or a reply has no
    choice, the prompt is a tie. Votes are kept one by one beside those of people; prompts that were
    judged before are not asked again.

    Args:
        endpoint: the judge.
        rows: from `make_answers`.
        folder: where answers and votes are kept.
        progress: told how far the work is.

    Returns:
        What `count_votes` returns, with preference pairs beside it, and `judge`: `url`, `model`,
        `orders_agree` (share of prompts with an interval), `first_preferred` (share of the replies
        with a preference that take the answer shown first; 0.5 without a bias of position),
        `unclear` replies, and `verdict`. Also written to `judge.json`.

    Raises:
        DataError: both models answer every prompt alike, or most replies have no choice.
        ConfigError: the folder holds the votes of another judge.
        WorkError: the endpoint fails; what was judged is kept.
    """
    asked = [row for row in rows if row.model.strip() != row.other.strip()]
    if not asked:
        raise DataError(
            "Both models answer every prompt alike, so there is nothing to judge. Compare other "
            "models, or ask more."
        )
    with LineFile(folder / VOTES / f"{JUDGE}.jsonl", [MODEL, OTHER, TIE]) as votes:
        _require_same_judge(votes.lines, endpoint)
        judged = {vote["item"] for vote in votes.lines}
        waiting = [row for row in asked if row.item not in judged]
        for done, row in enumerate(waiting):
            if progress is not None:
                progress(f"Judged by {endpoint.model}", done, len(waiting))
            orders = [_winner(endpoint, row, sides) for sides in ((MODEL, OTHER), (OTHER, MODEL))]
            label = orders[0] if orders[0] == orders[1] and orders[0] != _UNCLEAR else TIE
            votes.append(
                {
                    "text": row.prompt,
                    "label": label,
                    "item": row.item,
                    "first": MODEL,
                    "orders": orders,
                    "judge": endpoint.model,
                }
            )
            _require_choices(votes.lines)
        told = _of_orders(votes.lines)
    found = count_votes(folder, rows, "the judge finds")
    found["judge"] = {"url": endpoint.url, "model": endpoint.model, **told}
    write_json(folder / RESULT, found)
    return found


def _winner(endpoint: Endpoint, row: Answered, sides: tuple[str, str]) -> str:
    first, second = (row.answer(side).strip() for side in sides)
    reply = endpoint.reply(
        _ASK, f"# Request\n\n{row.prompt}\n\n# Answer 1\n\n{first}\n\n# Answer 2\n\n{second}"
    )
    place = choice(reply)
    return _UNCLEAR if place is None else TIE if place == 0 else sides[place - 1]


def _require_same_judge(lines: Sequence[dict[str, Any]], endpoint: Endpoint) -> None:
    others = sorted({str(line.get("judge")) for line in lines} - {endpoint.model})
    if others:
        raise ConfigError(
            f"The votes in this folder are of the judge {others[0]}, not of {endpoint.model}. "
            "Choose another --output."
        )


def _require_choices(lines: Sequence[dict[str, Any]]) -> None:
    said = [one for line in lines for one in line["orders"]]
    if len(said) >= 10 and said.count(_UNCLEAR) / len(said) > _MOST_UNCLEAR:
        raise DataError(
            f"{said.count(_UNCLEAR)} of {len(said)} replies of the judge have no line with 1, 2 or "
            "0, so its votes mean nothing. Take a model that follows instructions, and another "
            "--output."
        )


def _of_orders(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Whether the order of the answers matters to the judge."""
    clear = [line["orders"] for line in lines if _UNCLEAR not in line["orders"]]
    unclear = sum(one == _UNCLEAR for line in lines for one in line["orders"])
    if not clear:
        return {
            "orders_agree": None,
            "first_preferred": None,
            "unclear": unclear,
            "verdict": "No prompt was judged in both orders.",
        }
    same = estimate("accuracy", [True] * len(clear), [a == b for a, b in clear]).to_dict()
    firsts = [one == MODEL for one, _ in clear if one != TIE]
    firsts += [other == OTHER for _, other in clear if other != TIE]
    first = sum(firsts) / len(firsts) if firsts else None
    said = (
        f"The two orders agree on {100 * (same['value'] or 0):.0f} % of the prompts (95 % interval "
        f"{100 * (same['low'] or 0):.0f} to {100 * (same['high'] or 0):.0f} %)"
    )
    if first is not None:
        said += f"; the answer shown first is preferred in {100 * first:.0f} % of the replies"
    return {
        "orders_agree": same,
        "first_preferred": first,
        "unclear": unclear,
        "verdict": f"{said}.",
    }
