"""`swift-stvg`: the command line."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from swift_stvg import __version__
from swift_stvg.errors import StvgError
from swift_stvg.settings import Settings, as_text, describe_settings


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns the exit status: 0, or 1 after an error said in one line."""
    words = sys.argv[1:] if argv is None else list(argv)
    parser = _parser(words[:1])
    args, further = parser.parse_known_args(words)
    if further and not hasattr(args, "passes_on"):
        parser.error(f"unrecognized arguments: {' '.join(further)}")
    args.further = further
    run: Callable[[argparse.Namespace], int] = args.run
    for stream in (sys.stdout, sys.stderr):  # text of data and models may hold what a terminal cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return run(args)
    except (StvgError, OSError) as error:
        print(f"swift-stvg: error: {error}", file=sys.stderr)
        return 1


def _parser(wanted: list[str]) -> argparse.ArgumentParser:
    """The parser, with the options of the wanted command only: making them imports what the command needs."""
    parser = argparse.ArgumentParser(prog="swift-stvg", description="Spatio-temporal video grounding for ms-swift.")
    parser.add_argument("--version", action="version", version=f"swift-stvg {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (meaning, add_options) in COMMANDS.items():
        command = commands.add_parser(name, help=meaning, allow_abbrev=False)
        if name in wanted:
            add_options(command)
    return parser


def _plugin_options(plugin: argparse.ArgumentParser) -> None:
    plugin.set_defaults(run=_plugin)


def _settings_options(settings: argparse.ArgumentParser) -> None:
    settings.set_defaults(run=_settings)


def _synth_options(synth: argparse.ArgumentParser) -> None:
    from swift_stvg.synth import SynthConfig

    synth.add_argument("out", type=Path, help="a folder; call it stvg_synthetic and set STVG_DATA_ROOT to its parent")
    synth.add_argument(
        "--split",
        dest="splits",
        nargs="+",
        type=_split,
        metavar="NAME=CLIPS[@SCALE[:SCALE]]",
        default=[(name, count, (1.0, 1.0)) for name, count in (("train", 1000), ("val", 100), ("test", 200))],
        help="splits and their numbers of clips (default: train=1000 val=100 test=200); with SCALE the annotated boxes "
        "are drawn too tight (0.7), too loose (1.3) or, for each clip anew, something between two (0.5:0.9)",
    )
    _options(synth, SynthConfig, "difficulty", "size_wh", "duration_s", "fps", "sentences_per_clip", "seed")
    synth.add_argument(
        "--objects", type=int, nargs=2, metavar=("FEWEST", "MOST"), help="things in a clip (default: the difficulty's)"
    )
    synth.add_argument(
        "--background",
        type=int,
        nargs=2,
        metavar=("DARKEST", "LIGHTEST"),
        help="gray of backgrounds, 0 to 255, plain or with faint waves (default: the difficulty's)",
    )
    synth.add_argument(
        "--sides",
        type=float,
        nargs=2,
        metavar=("SMALLEST", "LARGEST"),
        help="sides of things, in units of the frame's shorter side, 0.1 to 0.6 (default: the difficulty's)",
    )
    synth.set_defaults(run=_synth)


def _tiny_options(tiny: argparse.ArgumentParser) -> None:
    from swift_stvg.tiny import TinyConfig

    tiny.add_argument("out", type=Path, help="a new folder")
    _options(tiny, TinyConfig, *(f.name for f in fields(TinyConfig)))
    tiny.set_defaults(run=_tiny)


def _start_options(start: argparse.ArgumentParser) -> None:
    start.add_argument("--settings", action="store_true", help="print the settings that it was trained with instead")
    start.set_defaults(run=_start)


def _score_options(score: argparse.ArgumentParser) -> None:
    from swift_stvg.commands.score import add_options

    add_options(score)


def _check_options(check: argparse.ArgumentParser) -> None:
    from swift_stvg.commands.check import add_options

    add_options(check)


def _recipe_options(recipe: argparse.ArgumentParser) -> None:
    from swift_stvg.commands.recipe import add_options

    add_options(recipe)


def _headroom_options(headroom: argparse.ArgumentParser) -> None:
    from swift_stvg.commands.headroom import add_options

    add_options(headroom)


def _ground_options(ground: argparse.ArgumentParser) -> None:
    from swift_stvg.commands.ground import add_options

    add_options(ground)


def _cache_options(cache: argparse.ArgumentParser) -> None:
    from swift_stvg.commands.cache import add_options

    add_options(cache)


def _show_options(show: argparse.ArgumentParser) -> None:
    from swift_stvg.commands.show import add_options

    add_options(show)


def _bench_options(bench: argparse.ArgumentParser) -> None:
    from swift_stvg.commands.bench import add_options

    add_options(bench)


def _card_options(card: argparse.ArgumentParser) -> None:
    from swift_stvg.commands.card import add_options

    add_options(card)


def _pushed_options(pushed: argparse.ArgumentParser) -> None:
    from swift_stvg.commands.pushed import add_options

    add_options(pushed)


def _options(parser: argparse.ArgumentParser, config: type[Any], *names: str) -> None:
    """An option for each named field of a configuration class, with its default."""
    defaults = config()
    for name in names:
        default = getattr(defaults, name)
        pair = isinstance(default, tuple)
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(default[0]) if pair else type(default),
            nargs=2 if pair else None,
            default=default,
            help=f"default: {default}",
        )


def _configured(config: type[Any], args: argparse.Namespace) -> Any:
    given = {f.name: getattr(args, f.name) for f in fields(config) if hasattr(args, f.name)}
    return config(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def _split(text: str) -> tuple[str, int, tuple[float, float]]:
    name, _, rest = text.partition("=")
    count, _, scale = rest.partition("@")
    low, _, high = scale.partition(":")
    try:
        if not name:
            raise ValueError("no name")
        return name, int(count), (float(low or 1.0), float(high or low or 1.0))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=CLIPS, NAME=CLIPS@SCALE or NAME=CLIPS@SCALE:SCALE, such as train=1000"
        ) from None


def _plugin(args: argparse.Namespace) -> int:
    print(Path(__file__).parent / "plugin/swift_stvg_plugin.py")
    return 0


def _settings(args: argparse.Namespace) -> int:
    here = Settings.from_env()
    for (name, default, meaning), setting in zip(describe_settings(), fields(Settings), strict=True):
        print(f"{name}={as_text(getattr(here, setting.name))}\n    {meaning} (default: {default})")
    return 0


def _synth(args: argparse.Namespace) -> int:
    from swift_stvg.synth import SynthConfig, generate

    generate(
        args.out,
        {name: count for name, count, _ in args.splits},
        _configured(SynthConfig, args),
        label_scale={name: scale for name, _, scale in args.splits},
    )
    return 0


def _tiny(args: argparse.Namespace) -> int:
    from swift_stvg.tiny import TinyConfig, build

    count = build(args.out, _configured(TinyConfig, args))
    print(f"{args.out}: random {args.architecture}, {count:,} parameters")
    return 0


def _start(args: argparse.Namespace) -> int:
    from swift_stvg.start import environment, folder

    print(" ".join(f"{name}={text}" for name, text in environment().items()) if args.settings else folder())
    return 0


COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "plugin": ("print a path for --external_plugins, where it does not take the name swift_stvg", _plugin_options),
    "settings": ("list the STVG_* settings with their values here, and check them", _settings_options),
    "synth": ("render a synthetic dataset of moving shapes", _synth_options),
    "tiny": ("write a random Qwen-VL of about a million parameters", _tiny_options),
    "start": ("print the folder of the small trained model that comes with this package", _start_options),
    "check": ("look at a dataset as training will, and at what the rewards pay for right and wrong", _check_options),
    "recipe": ("a recipe under ms-swift's rules, and what it needs of GPUs", _recipe_options),
    "score": ("metrics of predictions under the protocols of published tables", _score_options),
    "show": ("a page that shows what a model did, or what a dataset holds", _show_options),
    "cache": ("sample, resize and keep the frames of a dataset on disk, for STVG_FRAME_CACHE", _cache_options),
    "ground": ("when and where in a video the thing is that a sentence describes", _ground_options),
    "headroom": ("what GRPO could gain from a model: its sampled answers beside its greedy ones", _headroom_options),
    "card": ("write a model card, and make a checkpoint load where the plugin is missing", _card_options),
    "pushed": ("whether a hub holds a folder as it is here", _pushed_options),
    "bench": ("what things cost on this machine, against a baseline measured in the same run", _bench_options),
}
"""Name, meaning, and what adds the options, of each subcommand."""


if __name__ == "__main__":
    sys.exit(main())
