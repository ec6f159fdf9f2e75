"""`--callbacks stvg_preview`: answers drawn onto their clips, and how each reward is distributed, while training runs.

Nothing is generated for it. What is shown is what training itself has judged on the first process: in GRPO its rollouts
and the answers of its evaluations, as they were sampled; in SFT the greedy answers of `--predict_with_generate true
--eval_metric stvg`. So no process waits for another, whatever ZeRO, FSDP or vLLM does with the weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from swift.callbacks import TrainerCallback, callbacks_map
from swift.utils import get_logger

from swift_stvg.adapters.observers import add_observer, remove_observers
from swift_stvg.geometry import FloatArray
from swift_stvg.report.drawing import Overlay, contact_sheet
from swift_stvg.rewards.batch import Batch
from swift_stvg.rewards.functions import tiou, viou
from swift_stvg.rows.row_truth import RowTruth
from swift_stvg.settings import Settings
from swift_stvg.video.reader import Frames

logger = get_logger()
BINS = 20
TRAIN, EVAL = "stvg_train", "stvg_eval"
_Answer: TypeAlias = tuple[str, RowTruth, dict[str, Any]]
"""What was written, the truth of its row, and the row."""


class Board(Protocol):
    """Where pictures and histograms go."""

    def picture(self, tag: str, pixels: Frames, caption: str, step: int) -> None:
        """Show a picture (H, W, 3)."""

    def histogram(self, tag: str, values: FloatArray, step: int) -> None:
        """Show how values (N,) are distributed."""

    def close(self) -> None:
        """No more will come."""


class TensorBoard:
    """Writes an event file of its own beside the trainer's."""

    def __init__(self, folder: str) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(folder, filename_suffix=".stvg")

    def picture(self, tag: str, pixels: Frames, caption: str, step: int) -> None:
        """As `Board`; the caption is not shown."""
        self._writer.add_image(tag, pixels, step, dataformats="HWC")
        self._writer.flush()

    def histogram(self, tag: str, values: FloatArray, step: int) -> None:
        """As `Board`."""
        self._writer.add_histogram(tag, values, step)
        self._writer.flush()

    def close(self) -> None:
        """As `Board`."""
        self._writer.close()


class SwanLab:
    """Logs to the run that ms-swift has begun."""

    def picture(self, tag: str, pixels: Frames, caption: str, step: int) -> None:
        """As `Board`."""
        import swanlab

        swanlab.log({tag: swanlab.Image(pixels, caption=caption)}, step=step)

    def histogram(self, tag: str, values: FloatArray, step: int) -> None:
        """As `Board`, as a bar chart."""
        import swanlab

        counts, edges = np.histogram(values, BINS)
        bars = swanlab.echarts.Bar()
        bars.add_xaxis([f"{edge:.3g}" for edge in edges[:-1]])
        bars.add_yaxis("answers", counts.tolist())
        swanlab.log({tag: bars}, step=step)

    def close(self) -> None:
        """The run is ms-swift's."""


class StvgPreview(TrainerCallback):  # type: ignore[misc]
    """Shows answers and rewards every STVG_PREVIEW_STEPS steps and after each evaluation.

    Attributes:
        shown: pictures and histograms that were shown.
        failed: those that could not be.
    """

    def __init__(self, args: Any, trainer: Any) -> None:
        super().__init__(args, trainer)
        settings = Settings.from_env()
        self._every, self._rows = settings.preview_steps, settings.preview_rows
        self._boards: list[Board] = []
        self._values: dict[str, dict[str, list[float]]] = {TRAIN: defaultdict(list), EVAL: defaultdict(list)}
        self._answers: dict[str, dict[str, _Answer]] = {TRAIN: {}, EVAL: {}}
        self._leader: str | None = None
        self.shown = self.failed = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Listen, on the first process; also to a run that begins anew, as with a smaller batch."""
        self._close()
        if not state.is_world_process_zero:
            return
        wanted = args.report_to or []
        if "tensorboard" in wanted:
            self._attempt("the event file", lambda: self._boards.append(TensorBoard(args.logging_dir)))
        if "swanlab" in wanted:
            self._boards.append(SwanLab())
        if self._boards:
            add_observer(state, self._note)
        else:
            logger.warning("stvg_preview shows nothing: --report_to names neither tensorboard nor swanlab")

    def _note(self, name: str, values: FloatArray, batch: Batch, rows: Sequence[dict[str, Any]]) -> None:
        """Remember what was judged; this runs within the rewards, which must not fail for its sake."""
        self._attempt(name, lambda: self._remember(name, values, batch, rows))

    def _remember(self, name: str, values: FloatArray, batch: Batch, rows: Sequence[dict[str, Any]]) -> None:
        """All rewards of a step tell of the same answers."""
        mode = TRAIN if self.trainer.model.training else EVAL
        self._values[mode][name] += values.tolist()
        self._leader = self._leader or name
        if name != self._leader:
            return
        if mode == TRAIN:  # an evaluation comes in several rounds, of which the first ones are kept
            self._answers[mode].clear()
        for row_truth, row in zip(batch.row_truths, rows, strict=True):
            if len(self._answers[mode]) < self._rows:
                self._answers[mode].setdefault(row_truth.id, (row["completion"], row_truth, row))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Show what was rolled out since the last time."""
        if self._boards and state.global_step % self._every == 0:
            self._show(TRAIN, state.global_step)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Show what the evaluation has answered."""
        if self._boards:
            self._show(EVAL, state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say what came of it."""
        if not self._boards:
            return
        remove_observers(state)
        self._close()
        log = logger.warning if self.failed or not self.shown else logger.info
        log(f"stvg_preview: {self.shown} pictures and histograms shown, {self.failed} failed")

    def _close(self) -> None:
        for board in self._boards:
            self._attempt("the end", board.close)
        self._boards.clear()

    def _show(self, mode: str, step: int) -> None:
        values, answers = self._values[mode], self._answers[mode]
        self._values[mode], self._answers[mode] = defaultdict(list), {}
        for board in self._boards:
            for name, numbers in values.items():
                self.shown += self._attempt(name, partial(board.histogram, f"{mode}/{name}", np.array(numbers), step))
            for place, answer in enumerate(answers.values()):
                tag = f"{mode}/answer {place}"
                self.shown += self._attempt(tag, partial(_draw, board, tag, answer, step))

    def _attempt(self, what: str, work: Callable[[], None]) -> bool:
        """Whether something works; a failure is counted, and the first one logged."""
        try:
            work()
        except Exception:
            # of any kind: videos vanish, disks fill up, and trackers raise what they like, but days of training must
            # not end for want of a picture
            self.failed += 1
            if self.failed == 1:
                logger.exception(f"stvg_preview cannot show {what}; training goes on, further failures are counted")
            return False
        return True


def _draw(board: Board, tag: str, answer: _Answer, step: int) -> None:
    """Show an answer as a contact sheet."""
    text, row_truth, row = answer
    batch = Batch([text], [row_truth])
    scores = {"tIoU": float(tiou(batch)[0])} | ({"vIoU": float(viou(batch)[0])} if row_truth.format.boxes else {})
    sheet = contact_sheet(Overlay.of(row_truth, row_truth.sentence, text, scores), Path(row["videos"][0]))
    board.picture(tag, np.asarray(sheet), row_truth.id, step)


def register() -> None:
    """Register the callback; safe to repeat."""
    callbacks_map["stvg_preview"] = StvgPreview
