"""Collecting data: `DataCollector` and its functions."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tunewright._api.rows import records_from_rows
from tunewright.data.export import DatasetFormat as DatasetFormat
from tunewright.data.export import Writer
from tunewright.data.export import export_dataset as write_export
from tunewright.data.records import Dataset as RecordSet
from tunewright.data.records import Splits
from tunewright.data.sources import load
from tunewright.data.split import split
from tunewright.errors import ConfigError, DataError, unknown_name

if TYPE_CHECKING:
    import datasets
    import numpy as np
    from numpy.typing import NDArray


Member = TypeVar("Member", bound=StrEnum)


def enum_member(kind: type[Member], value: Member | str, what: str) -> Member:
    """The enum member of a name in any case.

    Raises:
        ConfigError: there is none; names the close match.
    """
    try:
        return kind(value.lower())
    except ValueError as error:
        raise ConfigError(unknown_name(what, value, [m.value for m in kind])) from error


@dataclass
class DataCollectionConfig:
    """What to collect and how to cut it.

    Attributes:
        sources: files, folders, catalogue names or `python-docs:MODULE,...`.
        output_format: `DatasetFormat` or its name. Default: JSONL.
        output_path: prefix of the files that `export` writes. Default: `prepared_dataset`.
        shuffle: mix the rows before they are cut.
        max_samples: keep at most so many rows.
        min_length, max_length: characters of a row's text; shorter and longer rows are left out.
        filter_function: takes a row (dict), returns whether to keep it.
        transform_function: takes a row (dict), returns the row to use.
        validation_split, test_split: shares of the rows, from 0 to below 1.
        metadata: kept with the export.
        seed: of shuffling and splitting.
        writer_function: with CUSTOM only. Called for each part with its rows (dicts) and a path
            without ending; writes one file there, such as `{path}.xml`, and returns its path.
    """

    sources: Sequence[str] = field(default_factory=list)
    output_format: DatasetFormat | str = DatasetFormat.JSONL
    output_path: str | None = None
    shuffle: bool = True
    max_samples: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    filter_function: Callable[[dict[str, Any]], bool] | None = None
    transform_function: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    validation_split: float = 0.1
    test_split: float = 0.1
    metadata: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    writer_function: Writer | None = None

    def __post_init__(self) -> None:
        self.output_format = enum_member(DatasetFormat, self.output_format, "dataset format")
        if isinstance(self.sources, str):
            self.sources = [self.sources]
        faults = [
            f"{name} is {share}; it must be at least 0 and below 1."
            for name, share in (
                ("validation_split", self.validation_split),
                ("test_split", self.test_split),
            )
            if not 0 <= share < 1
        ]
        if not faults and self.validation_split + self.test_split >= 1:
            faults.append("validation_split and test_split together leave no row to train on.")
        if self.max_samples is not None and self.max_samples < 1:
            faults.append(f"max_samples is {self.max_samples}; it must be at least 1, or None.")
        if self.max_length is not None and (self.min_length or 0) > self.max_length:
            faults.append(
                f"min_length is {self.min_length} and max_length is {self.max_length}; no row is "
                "as long as that."
            )
        if self.output_format is DatasetFormat.CUSTOM and self.writer_function is None:
            faults.append("output_format is 'custom' but writer_function is None; give a function.")
        if self.output_format is not DatasetFormat.CUSTOM and self.writer_function is not None:
            faults.append(
                f"writer_function is given but output_format is {self.output_format.value!r}; make "
                "it 'custom'."
            )
        if faults:
            raise ConfigError(faults)


class DataCollector:
    """Collects rows from sources, cuts them into parts, and writes them.

    Args:
        config: what to collect.
    """

    def __init__(self, config: DataCollectionConfig) -> None:
        self.config = config
        self._records: RecordSet | None = None

    def collect(self) -> datasets.Dataset:
        """Read every source, filter, transform, shuffle.

        Raises:
            DataError: a source is missing or unreadable, or no row is left.
        """
        import datasets

        records = self._collect()
        return datasets.Dataset.from_list([record.to_row() for record in records])

    def prepare(self) -> datasets.DatasetDict:
        """Collect and cut into `train`, `validation` and `test`. A share of 0 gives no rows."""
        import datasets

        splits = self._splits()
        features = self.collect().features
        parts = {}
        for name, part in splits.items():
            rows = [record.to_row() for record in part]
            columns = {column: [row.get(column) for row in rows] for column in features}
            parts[name] = datasets.Dataset.from_dict(columns, features=features)
        return datasets.DatasetDict(parts)

    def export(self, dataset: Any = None) -> str:
        """Write `{output_path}_{split}.{format}` and `{output_path}_metadata.json`.

        Args:
            dataset: what to write. Default: what `prepare` gives; of rows on disk, these are
                written one by one, with the columns that each has.

        Returns:
            Path of the metadata file, which `dataset_path=` elsewhere takes.
        """
        config = self.config
        if dataset is None:
            dataset = self._splits() if self._collect().on_disk else self.prepare()
        return export_dataset(
            dataset,
            config.output_path or "prepared_dataset",
            config.output_format,
            config.metadata,
            config.writer_function,
        )

    def _splits(self) -> Splits:
        """The rows are cut in the order of their source, in which a large file is quick to read."""
        config = self.config
        parts = split(
            self._in_source_order(),
            validation=config.validation_split,
            test=config.test_split,
            seed=config.seed,
        )
        return Splits(*[part.select(self._order(len(part))) for _, part in parts.items()])

    def _collect(self) -> RecordSet:
        records = self._in_source_order()
        return records.select(self._order(len(records)))

    def _order(self, rows: int) -> NDArray[np.integer]:
        import numpy as np

        if not self.config.shuffle:
            return np.arange(rows)
        return np.random.Generator(np.random.Philox(key=self.config.seed)).permutation(rows)

    def _in_source_order(self) -> RecordSet:
        """The rows that the filters and `max_samples` leave."""
        if self._records is not None:
            return self._records
        import numpy as np

        config = self.config
        if not config.sources:
            raise DataError("sources is empty; give at least one file, folder or name.")
        found = load(list(config.sources))
        if config.transform_function is not None:
            rows = [config.transform_function(record.to_row()) for record in found]
            wrong = next((i for i, row in enumerate(rows) if not isinstance(row, Mapping)), None)
            if wrong is not None:
                raise DataError(
                    f"transform_function returned {rows[wrong]!r} for row {wrong + 1}; it must "
                    "return the row to use, as a dict. To leave rows out, give filter_function."
                )
            found = records_from_rows(rows, found.name)
        kept = self._kept(found)
        kept = np.sort(kept[self._order(len(kept))[: config.max_samples]])
        if not len(kept):
            raise DataError(
                f"No row is left of {len(found)}: filter_function, min_length={config.min_length} "
                f"and max_length={config.max_length} (characters) leave them all out."
            )
        self._records = found.select(kept)
        return self._records

    def _kept(self, found: RecordSet) -> NDArray[np.uint32]:
        """The rows that the filter and the lengths leave."""
        import numpy as np

        keep = self.config.filter_function
        low, high = self.config.min_length or 0, self.config.max_length
        kept = array("I")
        for index, record in enumerate(found):
            if keep is not None and not keep(record.to_row()):
                continue
            size = len(record.plain_text)
            if low <= size and (high is None or size <= high):
                kept.append(index)
        return np.frombuffer(kept, dtype=np.uint32)


def collect_data(config: DataCollectionConfig) -> datasets.Dataset:
    """`DataCollector(config).collect()`."""
    return DataCollector(config).collect()


def prepare_dataset(config: DataCollectionConfig) -> datasets.DatasetDict:
    """`DataCollector(config).prepare()`."""
    return DataCollector(config).prepare()


def export_dataset(
    dataset: Any,
    output_path: str | Path,
    format: DatasetFormat | str = DatasetFormat.JSONL,
    metadata: dict[str, Any] | None = None,
    writer_function: Writer | None = None,
) -> str:
    """Write a `datasets.Dataset` or `DatasetDict`; returns the path of the metadata file.

    Args:
        dataset: what to write.
        output_path: first part of the file names.
        format: `DatasetFormat` or its name.
        metadata: kept with the export.
        writer_function: with CUSTOM, as in `DataCollectionConfig`.

    Raises:
        ConfigError: the format is unknown.
        DataError: CUSTOM and `writer_function` are not given together, or it returns no file.
    """
    chosen = enum_member(DatasetFormat, format, "dataset format")
    return str(write_export(dataset, output_path, chosen, metadata, writer_function))
