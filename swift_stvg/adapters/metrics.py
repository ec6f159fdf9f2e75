"""The metrics as ms-swift's `--eval_metric stvg`, for `swift sft` with `--predict_with_generate true`."""

from __future__ import annotations

from typing import Any

import numpy as np
from swift.metrics import eval_metrics_map
from swift.metrics.base import EvalMetrics
from swift.utils import Serializer

from swift_stvg.adapters.observers import has_observers, notify
from swift_stvg.adapters.rewards import CLASSES
from swift_stvg.errors import DataError
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import REWARDS, tiou, usual_weights, viou
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.scoring.metrics import summarise


class StvgMetrics(EvalMetrics):  # type: ignore[misc]
    """m_tIoU, m_vIoU, tIoU@R and vIoU@R of generated answers on the sampled grid, as `swift-stvg score` gives them.

    m_vIoU and vIoU@R are means over the rows that ask for boxes. They are left out if no row does.
    """

    def compute_metrics(self, eval_prediction: Any) -> dict[str, float]:
        """Metrics of the rows with an `stvg` column; ms-swift adds the prefix `eval_`.

        Raises:
            DataError: no row has that column, or the answers are not in the order of the rows.
        """
        rows = []
        # with several processes, ms-swift repeats rows from the beginning to fill the last round; zip drops these rows
        for row, answer, label in zip(
            self.trainer.eval_dataset, eval_prediction.predictions, eval_prediction.label_ids, strict=False
        ):
            if Serializer.from_tensor(label) != row["messages"][-1]["content"]:
                raise DataError("ms-swift gave the answers in a different order than the rows of the validation set")
            if row.get("stvg") is not None:
                rows.append(dict(row) | {"completion": Serializer.from_tensor(answer)})
        if not rows:
            raise DataError(
                "--eval_metric stvg needs rows with an `stvg` column, and no row of the validation set has one"
            )
        batch = Batch([row["completion"] for row in rows], [RowTruth.from_json(row["stvg"]) for row in rows])
        state = self.trainer.state
        for name in usual_weights(batch.row_truths) if has_observers(state) else ():
            notify(state, CLASSES[name].__name__, REWARDS[name](batch), batch, rows)
        boxes = np.array([row_truth.format.boxes for row_truth in batch.row_truths], dtype=bool)
        return summarise(tiou(batch), viou(batch), boxes=boxes)


def register() -> None:
    """Register the metric; may be called again."""
    eval_metrics_map["stvg"] = StvgMetrics
