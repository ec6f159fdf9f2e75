"""The STVG_* settings."""

from __future__ import annotations

import pytest

from swift_stvg.answers.format import AnswerFormat
from swift_stvg.errors import SettingsError
from swift_stvg.settings import Settings, describe_settings


def test_defaults_follow_the_paper() -> None:
    settings = Settings.from_env({})
    assert (settings.fps, settings.max_side, settings.think) == (2.0, 336, True)
    assert AnswerFormat.of(settings).unit == "frame"
    assert settings.spatial_floor is None


def test_values_are_typed() -> None:
    settings = Settings.from_env(
        {"STVG_FPS": " 1.5 ", "STVG_THINK": "false", "STVG_SPATIAL_FLOOR": "-1", "STVG_TEST_DATA": "/x", "PATH": "/bin"}
    )
    assert (settings.fps, settings.think, settings.spatial_floor) == (1.5, False, -1.0)


WRONG = [
    ({"STVG_FSP": "2"}, "unknown setting STVG_FSP. Did you mean STVG_FPS?"),
    ({"STVG_NONSENSE": "2"}, "The settings are: STVG_BOXES, STVG_CACHE_DIR, STVG_COORDS"),
    ({"STVG_FPS": "0"}, r"STVG_FPS='0': must be a number in \[0.01, 120\].*its default: 2.0"),
    ({"STVG_FPS": "nan"}, "must be a number in"),
    ({"STVG_FPS": "fast"}, "must be a number in"),
    ({"STVG_THINK": "maybe"}, "must be true or false"),
    ({"STVG_COORDS": "yards"}, "must be one of pixel, norm1000"),
    ({"STVG_DECODER": "opencv"}, "must be one of pyav, decord"),
    ({"STVG_INDEX_UNIT": "Frame"}, "must be one of frame, second"),
    ({"STVG_MAX_FRAMES": "0"}, "must be a whole number in"),
    ({"STVG_MAX_FRAMES": "7.5"}, "must be a whole number in"),
    ({"STVG_MAX_FRAMES": "1_0"}, "must be a whole number in"),
    ({"STVG_SPATIAL_FLOOR": "-9"}, r"must be a number in \[-5, 1\]"),
    ({"STVG_MAX_SIDE": "20"}, r"STVG_SIDE_MULTIPLE \(28\) must not exceed STVG_MAX_SIDE \(20\)"),
]


@pytest.mark.parametrize(("environ", "message"), WRONG, ids=[str(w[0]) for w in WRONG])
def test_wrong_settings_are_errors(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_env(environ)


def test_every_setting_is_described() -> None:
    rows = {name: (default, meaning) for name, default, meaning in describe_settings()}
    assert rows["STVG_THINK"][0] == "true"
    assert rows["STVG_SPATIAL_FLOOR"][0] == "off"
    assert rows["STVG_MAX_SIDE"][0] == "336"
    assert all(meaning for _, meaning in rows.values())
