"""A second external plugin: a callback that deletes all videos before another callback draws them."""

from swift.callbacks import TrainerCallback, callbacks_map

from swift_stvg.settings import Settings


class Breaker(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        for video in (Settings.from_env().root / "stvg_synthetic").rglob("*.mp4"):
            video.unlink()


callbacks_map["breaker"] = Breaker
