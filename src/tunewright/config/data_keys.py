"""Keys of a recipe below `data`: where the rows come from, and what is done to them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    PositiveInt,
)

from tunewright.config.base import Strict
from tunewright.config.finding_ids import known_error
from tunewright.config.source_name import shown
from tunewright.config.synonym_file import words_or_file
from tunewright.config.task import Task
from tunewright.errors import ConfigError

ErrorId = Annotated[str, AfterValidator(known_error)]
Rate = Annotated[float, Field(ge=0, le=0.5)]


def _one_word(value: Any) -> Any:
    if isinstance(value, str) and len(value.split()) == 1:
        return value.strip().lower()
    raise ValueError("it must be one word")


Word = Annotated[str, BeforeValidator(_one_word)]


def _without_secrets(value: Any) -> Any:
    """A source as it may be written down: passwords and keys in addresses become `***`."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, list):
        return [_without_secrets(one) for one in value]
    if isinstance(value, WeightedSource):
        given = value.model_dump(mode="json", exclude_unset=True)
        return given | {"source": shown(value.source)}
    return value


def _share_or_source(value: Any) -> float | str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1:
        return float(value)
    raise ValueError("it must be a share of the rows (at least 0, below 1) or a source")


Part = Annotated[float | str, PlainValidator(_share_or_source), PlainSerializer(_without_secrets)]


class WeightedSource(Strict):
    """A source of a list, with what is said of it alone."""

    source: str = Field(min_length=1)
    """As a source without a weight."""
    weight: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Rows drawn from this source for each row of a source of weight 1. Default: 1; all rows where
    no source has a weight and one has another key."""
    prompt: str | None = Field(default=None, min_length=1)
    """Makes instructions of rows with labels, numbers or answers: `{text}`, `{text_pair}`,
    `{question}`, `{context}` and `{options}`, all labels, stand for what a row has."""
    name: str | None = Field(default=None, min_length=1)
    """What the rows are called in scores. Default: the name of the file."""
    task: Task | None = None
    """What the rows are for, before the prompt. Default: detected."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Role to column, as `data.columns`, for this source."""

    @property
    def is_described(self) -> bool:
        """Whether its rows are read by what is said here."""
        return bool(self.prompt or self.name or self.task or self.columns)


def _sources(value: Any) -> str | list[str | WeightedSource]:
    """The training rows; said in one sentence where it is wrong."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and value:
        return [one if isinstance(one, str) and one else _weighted(one) for one in value]
    raise ValueError(
        "it must be a source or a list of sources, each a text or {source: ..., weight: 2}"
    )


def _weighted(value: Any) -> WeightedSource:
    if isinstance(value, WeightedSource):
        return value
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} is no source; it must be a text or {{source: ..., weight: 2}}")
    try:
        return WeightedSource.check(value)
    except ConfigError as error:
        raise ValueError(" ".join(error.faults).rstrip(".?")) from error


Train = Annotated[
    str | list[str | WeightedSource], PlainValidator(_sources), PlainSerializer(_without_secrets)
]


class AugmentConfig(Strict):
    """Changed copies of the training rows, made to be read beside them."""

    copies: PositiveInt = 1
    """Changed copies of each training row, beside the row itself."""
    typos: Rate = 0.0
    """Share of the words of four letters or more that get one typing slip: a neighbouring key, two
    letters swapped, one left out, one doubled."""
    word_dropout: Rate = 0.0
    """Share of the words left out. Numbers, addresses, @names, hashtags and negations stay."""
    synonyms: Annotated[
        dict[Word, Annotated[list[str], Field(min_length=1)]], BeforeValidator(words_or_file)
    ] = Field(default_factory=dict)
    """Word to words that may stand for it in these texts, such as {film: [movie, picture]}; or a
    text file with `film: movie, picture` on a line, whose words the run's recipe keeps."""
    synonym_replacement: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the words in `synonyms` that are replaced by one of theirs."""

    def contradictions(self) -> list[str]:
        """Copies that would change nothing, and synonyms without use."""
        faults = []
        if bool(self.synonyms) != bool(self.synonym_replacement):
            there, missing = (
                ("synonyms", "synonym_replacement, such as 0.3")
                if self.synonyms
                else ("synonym_replacement", "synonyms, such as {film: [movie]}")
            )
            faults.append(
                f"data.augment.{there} has no effect without {missing}; give both or neither."
            )
        if not (self.typos or self.word_dropout or self.synonym_replacement or faults):
            faults.append(
                "data.augment changes nothing: typos, word_dropout and synonym_replacement are 0; "
                "set one of them, such as typos: 0.1, or remove augment."
            )
        return faults


class DataConfig(Strict):
    """Where the rows come from and how they are read."""

    train: Train
    """A file, a folder (with train/validation/test parts or not), a name, an address, a query, or
    a list of these, each with a `weight` or not. `#500` behind a source draws 500 of its rows."""
    validation: Part = 0.1
    """Share of the training rows held out, or a source. 0 means none."""
    test: Part = 0.0
    """Share of the training rows held out for the final score, or a source. 0 means none."""
    mixing_limit: PositiveInt | None = None
    """Rows of a source that count at most where sources are mixed in proportion to their rows
    (arXiv 1910.10683, section 3.5.2). Default: all count."""
    mixing_temperature: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    """Sources are mixed in proportion to their rows to the power of 1 / this: higher is more even
    (the same section). Default: 1."""
    time_column: str | None = None
    """Column with the time of each row. With it the newest rows are held out, not random ones."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Role to column, such as {text: tweet, label: mood}. Detected where left out."""
    max_samples: PositiveInt | None = None
    """Keep at most this many training rows, chosen at random. Default: all."""
    balance: Literal["none", "weights", "oversample", "undersample"] = "none"
    """What to do about labels of unlike frequency: weigh the loss of each row, repeat rows of the
    rarer labels, or leave out rows of the more frequent ones. Training rows only."""
    augment: AugmentConfig | None = None
    """Changed copies of the training rows."""
    template: Literal["auto", "chat", "plain"] = "auto"
    """How prompts are laid out: `chat` uses the tokenizer's chat template, `plain` joins prompt
    and answer. `auto` takes `chat` where the tokenizer has a template."""
    system: str = ""
    """System message of the conversations that have none. It is kept beside the weights; programs
    that use the model must send it too. Tasks of conversations only."""
    source_prefix: str = ""
    """Text before every source, such as `summarize: `. Encoder-decoder models only, which have no
    template."""
    truncation: Literal["error", "cut", "drop"] = "error"
    """What to do with rows longer than `max_length` tokens: refuse to start, cut their ends, or
    leave them out."""
    allow: list[ErrorId] = Field(default_factory=lambda: ["template.system"])
    """Errors of the audit to train in spite of, by id. Any other error stops the run before it
    begins."""

    def contradictions(self) -> list[str]:
        """Copies that would change nothing, and mixing where there is nothing to mix."""
        faults = self.augment.contradictions() if self.augment else []
        mixing = [k for k in ("mixing_limit", "mixing_temperature") if getattr(self, k) is not None]
        sources = self.train if isinstance(self.train, list) else []
        weights = any(isinstance(one, WeightedSource) and one.weight for one in sources)
        if mixing and len(sources) < 2:
            faults.append(
                f"data.{mixing[0]} mixes several sources and data.train has one; remove it, or "
                "give a list of sources."
            )
        if mixing and weights:
            faults.append(
                f"data.{mixing[0]} takes proportions from numbers of rows, and a source has a "
                "weight; give only one of them."
            )
        return faults
