"""The sources as ms-swift datasets: `--dataset hcstvg_v2:train`, `vidstg:test#500`, `stvg_jsonl:my/file.jsonl`."""

from __future__ import annotations

from typing import Any

from datasets import Dataset as HfDataset
from datasets import concatenate_datasets
from swift.dataset import DatasetMeta, MessagesPreprocessor, SubsetDataset, register_dataset
from swift.dataset.loader import DatasetLoader
from swift.utils import get_logger

from swift_stvg.adapters.templates import check_settings
from swift_stvg.settings import Settings
from swift_stvg.sources.loading import load_rows
from swift_stvg.sources.registry import SOURCES, is_part

logger = get_logger()


class StvgLoader(DatasetLoader):  # type: ignore[misc]
    """Loads the rows of the sources.

    It ignores `remove_unused_columns`: rewards and the scorer need the `stvg` column.
    """

    def load(self, dataset_syntax: Any = None, dataset_meta: Any = None, *, use_hf: bool | None = None) -> HfDataset:
        """Load the rows of all wanted subsets, one after the other. Dropped rows are logged with the reasons."""
        name = dataset_meta.dataset_name
        settings = Settings.from_env()
        check_settings(settings)
        parts = [self._load_split(name, split, settings) for split in self._splits(dataset_syntax, dataset_meta)]
        return parts[0] if len(parts) == 1 else concatenate_datasets(parts)

    def _splits(self, dataset_syntax: Any, dataset_meta: Any) -> list[str]:
        if not SOURCES[dataset_meta.dataset_name].splits:  # a path: ms-swift splits it at the slashes
            return ["/".join(dataset_syntax.subsets)]
        return [subset.subset for subset in self._select_subsets(dataset_syntax.subsets, dataset_meta)]

    def _load_split(self, name: str, split: str, settings: Settings) -> HfDataset:
        rows, report = load_rows(name, split, settings, strict=self.strict)
        log = logger.warning if report.dropped else logger.info
        log(report.summary())
        dataset = HfDataset.from_list(rows)
        # ms-swift's preprocessor gives the columns the same types as in other datasets, so that datasets can be mixed
        dataset = MessagesPreprocessor()(
            dataset, num_proc=self.num_proc, load_from_cache_file=False, strict=self.strict
        )
        if self.streaming:
            dataset = dataset.to_iterable_dataset()
        return dataset


def register() -> None:
    """Register every source by its name; may be called again."""
    for name, source in SOURCES.items():
        subsets: list[SubsetDataset | str] = [
            SubsetDataset(subset=split, is_weak_subset=is_part(split)) for split in source.splits
        ]
        register_dataset(
            # ms-swift labels rows with these ids; it does not look for them on a hub
            DatasetMeta(
                dataset_name=name,
                ms_dataset_id=name,
                hf_dataset_id=name,
                subsets=subsets or ["default"],
                loader=StvgLoader,
                tags=["video", "grounding"],
            ),
            exist_ok=True,
        )
