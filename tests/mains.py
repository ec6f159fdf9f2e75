"""Run several commands of ms-swift and of swift-stvg in one process, which imports ms-swift only once.

python mains.py '[["export", "--model", "..."], ["swift-stvg", "card", "..."]]'

["positions", MODEL_TYPE] corrects the positions of transformers. ["vocabulary", IMAGE, VIDEO] gives ms-swift's own
template the token ids of a tiny model, because it holds the ids of Qwen's models.
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
    if command == "positions":
        from swift_stvg.adapters.positions import correct_positions

        correct_positions(*rest)
        return
    if command == "vocabulary":
        from swift.template.templates.qwen import Qwen2VLTemplate

        Qwen2VLTemplate.image_token_id, Qwen2VLTemplate.video_token_id = map(int, rest)
        return
    getattr(pipelines, f"{command}_main")(rest)


if __name__ == "__main__":
    for words in json.loads(sys.argv[1]):
        print("RUN", *words, flush=True)
        run(words)
