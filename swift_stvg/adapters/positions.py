"""Multimodal rotary positions of Qwen2-VL and Qwen2.5-VL as in their pretraining, with any version of transformers.

The rule is that of the models' first release (transformers 4.49.0, `Qwen2_5_VLForConditionalGeneration.get_rope_index`)
and of vLLM (`get_mrope_input_positions`):

- Positions of text increase by 1 on all three axes (time, height, width).
- A picture or video begins at p, one more than the largest position before it. Its patch (i, y, x) has the position (p
  + floor(i * seconds of a pair of frames * tokens_per_second), p + y, p + x). For a picture, i = 0. Qwen2-VL does not
  use seconds: its position on the time axis is p + i.
- The next token after a picture or video has one more than the largest position so far.

transformers 5.3.0 to 5.24.0 continue after a video at p + max(height, width), so the text gets positions among the
frames. transformers 4.57.6 to 5.17.0 truncate the seconds to a whole number before the multiplication. transformers
5.2.0 never gives Qwen2-VL a negative delta, so tokens that it generates get positions that are too large. Qwen3-VL and
Qwen3.5 write times as text and need no correction: each pair of frames is treated like a picture, whose largest
position is max(height, width) - 1. InternVL numbers all tokens consecutively.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from functools import cache, wraps
from importlib import import_module
from itertools import groupby
from typing import Any

import torch
import transformers
from swift.utils import get_logger

MODELS = {
    "qwen2_vl": ("transformers.models.qwen2_vl", "Qwen2VL"),
    "qwen2_5_vl": ("transformers.models.qwen2_5_vl", "Qwen2_5_VL"),
}
"""For each model type: the package of the class that may need correction, and the beginning of its name."""
THEIRS = "corrected_by_swift_stvg"
"""Attribute of a corrected `get_rope_index` that holds the original function."""
TEXT, PICTURE, VIDEO = 0, 1, 2
"""Kinds of tokens, numbered as in transformers' `mm_token_type_ids`."""


def positions_of(
    kinds: Sequence[int],
    picture_grids: Iterator[Sequence[int]],
    video_grids: Iterator[tuple[Sequence[int], float]],
    merge_size: int,
) -> torch.Tensor:
    """Positions (3, L) of one sequence by the rule; the axes are time, height and width.

    Args:
        kinds: (L,) TEXT, PICTURE or VIDEO for each token, without padding.
        picture_grids: (pairs of frames, height, width) of each picture in patches, in order. Grids of later sequences
            may follow.
        video_grids: the same for each video, with the distance in positions between two pairs of its frames.
        merge_size: a token covers a square of patches with this side.
    """
    parts, following = [], 0
    for kind, group in groupby(kinds):
        left = len(list(group))
        if kind == TEXT:
            parts.append((following + torch.arange(left)).expand(3, -1))
            following += left
        while kind != TEXT and left:
            grid, interval = (next(picture_grids), 1.0) if kind == PICTURE else next(video_grids)
            times, rows, columns = int(grid[0]), int(grid[1]) // merge_size, int(grid[2]) // merge_size
            axes = ((torch.arange(times) * interval).long(), torch.arange(rows), torch.arange(columns))
            parts.append(following + torch.stack(torch.meshgrid(*axes, indexing="ij")).reshape(3, -1))
            following = int(parts[-1].max()) + 1
            left -= times * rows * columns
            if left < 0:
                raise ValueError(f"{-left} tokens are missing of a picture or video of {times} x {rows} x {columns}")
    return torch.cat(parts, dim=1)


def kinds_of(input_ids: torch.Tensor, config: Any) -> torch.Tensor:
    """TEXT, PICTURE or VIDEO for each token id, any shape."""
    return torch.where(input_ids == config.image_token_id, PICTURE, 0) + torch.where(
        input_ids == config.video_token_id, VIDEO, 0
    )


def rope_index(
    config: Any,
    input_ids: torch.Tensor,
    *,
    mm_token_type_ids: torch.Tensor | None = None,
    image_grid_thw: torch.Tensor | None = None,
    video_grid_thw: torch.Tensor | None = None,
    second_per_grid_ts: Sequence[float] | torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
    **_: Any,
) -> torch.Tensor:
    """Positions (3, N, L) of a padded batch (N, L) by the rule. Positions of padding are undefined."""
    vision = config.vision_config
    rate = getattr(vision, "tokens_per_second", None)
    videos = [] if video_grid_thw is None else video_grid_thw.tolist()
    seconds = [1.0] * len(videos) if second_per_grid_ts is None else [float(s) for s in second_per_grid_ts]
    intervals = [1.0 if rate is None else s * rate for s in seconds]
    picture_grids = iter([] if image_grid_thw is None else image_grid_thw.tolist())
    video_grids = zip(videos, intervals, strict=True)
    kinds = kinds_of(input_ids, config) if mm_token_type_ids is None else mm_token_type_ids
    positions = torch.ones(3, *input_ids.shape, dtype=input_ids.dtype)
    for i, row in enumerate(kinds.cpu()):
        used = torch.ones_like(row, dtype=torch.bool) if attention_mask is None else attention_mask[i].bool().cpu()
        positions[:, i, used] = positions_of(row[used].tolist(), picture_grids, video_grids, vision.spatial_merge_size)
    return positions.to(input_ids.device)


def _model_class(model_type: str) -> Any:
    package, name = MODELS[model_type]
    return getattr(import_module(f"{package}.modeling_{model_type}"), f"{name}Model")


def _without_weights(kind: Any, model_type: str) -> Any:
    """A model without layers, which can only compute positions."""
    package, name = MODELS[model_type]
    model = kind.__new__(kind)
    torch.nn.Module.__init__(model)
    model.config = getattr(import_module(f"{package}.configuration_{model_type}"), f"{name}Config")()
    return model


def _call(get_rope_index: Any, *args: Any, **given: Any) -> Any:
    """Call `get_rope_index` with the arguments that this version of transformers accepts."""
    known = inspect.signature(get_rope_index).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    return get_rope_index(*args, **{name: value for name, value in given.items() if takes_all or name in known})


def faults_of(model_type: str) -> list[str]:
    """Faults of the installed transformers against the rule, found by calling it; empty if it follows the rule."""
    kind = _model_class(model_type)
    theirs = getattr(kind.get_rope_index, THEIRS, kind.get_rope_index)
    model = _without_weights(kind, model_type)
    config = model.config
    merge, pairs, seconds = config.vision_config.spatial_merge_size, 12, [2.75]
    video = [config.vision_start_token_id, *[config.video_token_id] * pairs * 16, config.vision_end_token_id]
    input_ids = torch.tensor([[1, *video, *([1] * 20)]])
    kinds = kinds_of(input_ids, config)
    given = {
        "video_grid_thw": torch.tensor([[pairs, 4 * merge, 4 * merge]]),
        "second_per_grid_ts": seconds,
        "attention_mask": torch.ones_like(input_ids),
        "mm_token_type_ids": kinds,
    }
    made, deltas = _call(theirs, model, input_ids, **given)
    found = made[:, 0]
    right = rope_index(config, input_ids, **given)[:, 0]
    frames = kinds[0] == VIDEO
    faults = []
    if found[0, int(frames.nonzero().max()) + 1] <= found[0, frames].max():
        faults.append("text gets positions among the frames of the video before it")
    if not torch.equal(found[:, frames], right[:, frames]):
        faults.append("the seconds of a pair of frames are truncated to a whole number")
    if not faults and not torch.equal(found, right):
        faults.append("positions differ")
    if deltas is not None and int(deltas[0, 0]) + input_ids.shape[1] != int(found.max()) + 1:
        faults.append("generated tokens do not begin after the largest position")
    return faults


@cache
def correct_positions(model_type: str) -> tuple[str, ...]:
    """Make transformers' model of this type use the rule, if the installed version does not. Runs once in a process.

    All users of positions call the model's class: ms-swift's collators of SFT and GRPO, packing, generation with and
    without a cache, and the model's forward pass.

    Returns:
        The faults of the installed version; empty if the architecture or version needs no correction.
    """
    if model_type not in MODELS:
        return ()
    faults = faults_of(model_type)
    if faults:
        kind = _model_class(model_type)
        kind.get_rope_index = _corrected(kind.get_rope_index)
        get_logger().info(
            f"swift_stvg corrects the positions that transformers {transformers.__version__} gives {kind.__name__}: "
            f"{', and '.join(faults)}. The corrected positions are those of the pretraining and of vLLM."
        )
    return tuple(faults)


def _corrected(theirs: Any) -> Any:
    signature = inspect.signature(theirs)

    @wraps(theirs)
    def get_rope_index(self: Any, *args: Any, **kwargs: Any) -> Any:
        positions, deltas = theirs(self, *args, **kwargs)
        given = signature.bind(self, *args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        if given.get("image_grid_thw") is None and given.get("video_grid_thw") is None:
            return positions, deltas
        mask = given.get("attention_mask")
        input_ids = given["input_ids"]
        used = torch.ones_like(input_ids, dtype=torch.bool) if mask is None else mask.bool()
        given = {name: value for name, value in given.items() if name not in ("self", "input_ids")}
        right = rope_index(self.config, input_ids, **given).to(positions)
        # a token that is generated has the position count + delta; some versions count padding, others do not
        theirs_follow, right_follows = ((p * used).amax((0, 2)) + 1 for p in (positions, right))
        length, without_padding = torch.full_like(theirs_follow, used.shape[1]), used.sum(1).to(theirs_follow)
        leaves_out = torch.equal(deltas[:, 0].to(length) + without_padding, theirs_follow)
        count = without_padding if leaves_out else length
        deltas = (right_follows - count).unsqueeze(1).to(deltas)
        return torch.where(used, right, positions), deltas

    setattr(get_rope_index, THEIRS, theirs)
    return get_rope_index
