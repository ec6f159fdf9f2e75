"""`--callbacks stvg_preview`: answers drawn onto their clips, and histograms of each reward, during a training.

It generates no answers. It shows answers that the training itself scored on the first process: in GRPO the sampled
answers of rollouts and evaluations; in SFT the greedy answers of `--predict_with_generate true --eval_metric stvg`. So
no process waits for another one, also with ZeRO, FSDP or vLLM.
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
"""The model's text, the truth of its row, and the row."""


class Board(Protocol):
    """Receives pictures and histograms."""

    def picture(self, tag: str, pixels: Frames, caption: str, step: int) -> None:
        """Show a picture (H, W, 3)."""

    def histogram(self, tag: str, values: FloatArray, step: int) -> None:
        """Show the distribution of values (N,)."""

    def close(self) -> None:
        """Close the board. Nothing can be shown after this."""


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
    """Logs to the run that ms-swift started."""

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
        """Do nothing: ms-swift ends the run."""


class StvgPreview(TrainerCallback):  # type: ignore[misc]
    """Shows answers and rewards every STVG_PREVIEW_STEPS steps and after each evaluation.

    Attributes:
        shown: number of pictures and histograms that were shown.
        failed: number of pictures and histograms that could not be shown.
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
        """Observe the run on the first process, also when the run starts again, for example with a smaller batch."""
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
        """Keep a scored batch. This runs inside the rewards, so an error here must not reach them."""
        self._attempt(name, lambda: self._remember(name, values, batch, rows))

    def _remember(self, name: str, values: FloatArray, batch: Batch, rows: Sequence[dict[str, Any]]) -> None:
        """Keep the values of each reward, and the answers once: all rewards of a step score the same answers."""
        mode = TRAIN if self.trainer.model.training else EVAL
        self._values[mode][name] += values.tolist()
        self._leader = self._leader or name
        if name != self._leader:
            return
        if mode == TRAIN:  # an evaluation has several rounds: its first answers are kept
            self._answers[mode].clear()
        for row_truth, row in zip(batch.row_truths, rows, strict=True):
            if len(self._answers[mode]) < self._rows:
                self._answers[mode].setdefault(row_truth.id, (row["completion"], row_truth, row))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Show the rollouts since the last preview."""
        if self._boards and state.global_step % self._every == 0:
            self._show(TRAIN, state.global_step)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Show the answers of the evaluation."""
        if self._boards:
            self._show(EVAL, state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Log how many pictures and histograms were shown."""
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
        """Do something and return whether it worked. Failures are counted, and the first one is logged."""
        try:
            work()
        except Exception:
            # everything is caught: TensorBoard and SwanLab raise errors of any class, and no preview may end a training
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
    """Register the callback; may be called again."""
    callbacks_map["stvg_preview"] = StvgPreview
