"""Runs several commands of ms-swift and of swift-stvg in one process, which imports ms-swift only once.

python mains.py '[["export", "--model", "..."], ["swift-stvg", "card", "..."]]'
"""

import json
import sys

import swift.pipelines as pipelines  # before swift_stvg, which registers itself with it then


def run(words: list[str]) -> None:
    command, *rest = words
    if command == "swift-stvg":
        from swift_stvg.cli import main

        if main(rest) != 0:
            sys.exit(f"failed: {words}")
        return
    getattr(pipelines, f"{command}_main")(rest)


if __name__ == "__main__":
    for words in json.loads(sys.argv[1]):
        print("RUN", *words, flush=True)
        run(words)
