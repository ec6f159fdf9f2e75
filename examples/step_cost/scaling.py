"""Plot the growth of a GRPO step's video work from the report of `swift-stvg bench step --out BENCH.json`.

python examples/step_cost/scaling.py BENCH.json scaling.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt

AXES = {"generations": "completions of a prompt, film of 20 s", "length_s": "seconds of home video, 8 completions"}


def main(bench: str, picture: str) -> None:
    results = [r for r in json.loads(Path(bench).read_text())["results"] if "generations" in r["at"]]
    film = results[0]["what"].partition("completions, ")[2]
    groups = {
        "generations": [r for r in results if r["what"].endswith(film)],
        "length_s": [r for r in results if not r["what"].endswith(film)],
    }
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, (name, label) in zip(axes, AXES.items(), strict=True):
        x = [r["at"][name] for r in groups[name]]
        for kind, colour, marker, title in (
            ("theirs", "#d1495b", "s", "stock template"),
            ("ours", "#1f3a5f", "o", "swift_stvg"),
        ):
            y = [r[kind] for r in groups[name]]
            axis.plot(x, y, marker=marker, color=colour, label=title)
            for at, seconds in zip(x, y, strict=True):
                axis.annotate(
                    f"{seconds:.2g}", (at, seconds), (0, 5), textcoords="offset points", ha="center", fontsize=7
                )
        axis.set_xlabel(label)
        axis.set_xticks(x)
        axis.set_ylim(0, 1.12 * max(r["theirs"] for r in groups[name]))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("host's video work per prompt, s")
    axes[0].legend(frameon=False)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(*sys.argv[1:])
