"""The first stage: look at data, repair it, and refuse to train on what is broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tunewright.data.audit import Audit, audit
from tunewright.data.finding import counted
from tunewright.data.fix_options import ASKED, SAFE, require_known
from tunewright.data.fixes import Fixed, write_fixed
from tunewright.data.layout import pick_template
from tunewright.data.records import Splits
from tunewright.data.sources import load_splits
from tunewright.data.token_view import TokenRow, token_rows
from tunewright.data.word_list import read_words
from tunewright.errors import ArtifactError, DataError
from tunewright.evaluate.data_card import write_card
from tunewright.models.catalogue import model_folder
from tunewright.models.inspect import inspect_model
from tunewright.models.load import check_task, load_tokenizer
from tunewright.train.prepare import Prepared


def read_data(
    source: str | Sequence[str], *, task: str = "auto", columns: Mapping[str, str] | None = None
) -> Splits:
    """Read a data set as it is: no part is cut from another.

    Args:
        source: file, folder with parts, catalogue name, or several of these.
        task: `auto` detects it.
        columns: role to column.
    """
    return load_splits(source, 0.0, 0.0, task=task, columns=columns)


def check(
    source: str | Sequence[str] | Splits,
    *,
    task: str = "auto",
    columns: Mapping[str, str] | None = None,
    model: str | None = None,
    max_length: int | None = None,
    wrong_labels: bool = False,
    words: str | Path | None = None,
    toxicity: str | None = None,
    toxic_labels: Sequence[str] = (),
) -> Audit:
    """Audit a data set: everything in it that would spoil a model.

    Args:
        source: rows, or a file, a folder with parts, a catalogue name, or several of these.
        task: `auto` detects it.
        columns: role to column.
        model: measure lengths in this model's tokens, and look at what would be trained.
        max_length: of `model`; default: what it takes at most.
        wrong_labels: also rank training labels that look wrong.
        words: text file with one word or phrase a line: also count rows that hold one of them.
        toxicity: a finished classifier, by folder or hub id: also find the rows it calls toxic.
        toxic_labels: its labels that mean toxic. Default: those whose names say so.
    """
    listed = read_words(words) if words is not None else ()
    splits = source
    if not isinstance(splits, Splits):
        splits = read_data(splits, task=task, columns=columns)
    options: dict[str, Any] = {"wrong_labels": wrong_labels, "words": listed}
    if toxicity is not None:
        from tunewright.models.toxic_rows import toxic_rows

        options["further"] = [partial(toxic_rows, model=toxicity, wanted=toxic_labels)]
    if model is None:
        return audit(splits, **options)
    facts = inspect_model(model_folder(model))
    tokenizer = load_tokenizer(facts.folder)
    check_task(facts, splits.task)
    return audit(
        splits,
        tokenizer=tokenizer,
        max_length=max_length or facts.max_length,
        template=pick_template("auto", tokenizer, splits.task, facts.kind),
        parameters=facts.parameters,
        **options,
    )


def show_tokens(
    splits: Splits, model: str, rows: int, max_length: int | None = None
) -> list[TokenRow]:
    """The first training rows token by token, with what is trained.

    Args:
        splits: from `read_data`.
        model: whose tokenizer and chat template are used.
        rows: how many.
        max_length: tokens; default: what the model takes at most.

    Raises:
        DataError: the rows are not for a model that writes.
    """
    if not splits.task.is_generative:
        raise DataError(
            f"The rows are for {splits.task.value}, where no token is trained but the label is. "
            "--show-tokens is for the tasks instruction and text."
        )
    facts = inspect_model(model_folder(model))
    tokenizer = load_tokenizer(facts.folder)
    check_task(facts, splits.task)
    template = pick_template("auto", tokenizer, splits.task, facts.kind)
    return token_rows(splits, tokenizer, template, max_length or facts.max_length, rows)


def fix(
    source: str,
    splits: Splits,
    folder: str | Path,
    *,
    mask: bool = False,
    also: Sequence[str] = (),
    found: Audit | None = None,
) -> Fixed:
    """Write a cleaned copy of a data set; see `tunewright.data.fixes.write_fixed`.

    Args:
        source: what `splits` was read from.
        splits: from `read_data`.
        folder: new, and not within the source.
        mask: also mask personal data and secrets.
        also: further fixes by id, of `tunewright.data.fix_options.ASKED`.
        found: the audit of `splits`. Fixes of what a person has to look at take the rows from it.
    """
    require_known(also, ASKED)
    target, origin = Path(folder).expanduser(), Path(source).expanduser()
    if origin.is_dir() and origin.resolve() in target.resolve().parents:
        raise ArtifactError(
            f"{target} is within {origin}, which would then hold its own copy. Give a folder "
            "outside it to --fix."
        )
    findings = found.findings if found is not None else ()
    return write_fixed(splits, target, mask=mask, also=also, found=findings)


def data_card(found: Audit, name: str, path: str | Path) -> Path:
    """Write an audit as one HTML page with pictures.

    Args:
        found: from `check`.
        name: of the data set, for the heading.
        path: of the page; a card that is there is replaced.
    """
    return write_card(found.to_dict(), name, Path(path).expanduser())


def audit_prepared(prepared: Prepared) -> dict[str, Any]:
    """The audit of a run's data as its model will see it."""
    data = prepared.recipe.data
    return audit(
        prepared.splits,
        tokenizer=prepared.tokenizer,
        max_length=prepared.recipe.max_length,
        template=prepared.template,
        truncation=data.truncation,
        parameters=prepared.facts.parameters,
        source_prefix=data.source_prefix,
        system=data.system,
        cut_here=any(
            isinstance(share, float) and share > 0 for share in (data.validation, data.test)
        ),
    ).to_dict()


def require_sound(found: Mapping[str, Any], allow: Sequence[str]) -> None:
    """Refuse data in which the audit found an error.

    Args:
        found: from `audit_prepared`.
        allow: ids of errors that are accepted.

    Raises:
        DataError: names the errors, what fixes them and what accepts them.
    """
    errors = [
        finding
        for finding in found["findings"]
        if finding["severity"] == "error" and finding["id"] not in allow
    ]
    if errors:
        names = [finding["id"] for finding in errors]
        listed = ", ".join(f"{f['id']} ({counted(f['rows'], 'row')})" for f in errors)
        fixed = [name for name in names if name in SAFE]
        fix = errors[0]["fix"]
        if fixed:
            fix = f"`tunewright check DATA --fix OUT` writes a copy without {', '.join(fixed)}."
        raise DataError(
            f"The audit found {'an error' if len(errors) == 1 else f'{len(errors)} errors'} in the "
            f"data: {listed}. {errors[0]['message']} {fix} To train in spite of it, set "
            f"data.allow=[{', '.join(dict.fromkeys([*allow, *names]))}]."
        )
