"""The lines of `predictions.jsonl`: what a model says of each row."""

from __future__ import annotations

import json
from typing import Any

from tunewright.evaluate.answer_rows import answer_line
from tunewright.evaluate.answers import Answers, Work
from tunewright.evaluate.entity_rows import entity_line
from tunewright.evaluate.pair_rows import pair_line


def prediction_lines(work: Work, answers: Answers) -> list[str]:
    """One JSON object a row, in the order of the rows.

    Args:
        work: the rows.
        answers: of the model.
    """
    lines = []
    for i, record in enumerate(work.records):
        line: dict[str, Any] = {"row": record.row}
        if answers.losses is not None:
            line |= {"loss": float(answers.losses[i]), "tokens": int(answers.tokens[i])}
            if answers.texts:
                line["predicted"] = answers.texts[i]
        elif record.words:
            line |= entity_line(record, answers, i)
        elif answers.spans is not None:
            line |= answer_line(record, answers, i)
        elif answers.pairs is not None:
            line |= pair_line(work.records, answers, i)
        else:
            line |= {"expected": record.label, "predicted": answers.predictions[i]}
            if answers.probabilities is not None:
                line["probabilities"] = [round(float(p), 6) for p in answers.probabilities[i]]
        lines.append(json.dumps(line, ensure_ascii=False))
    return lines
