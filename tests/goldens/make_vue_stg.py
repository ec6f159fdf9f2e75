"""Write tests/data/vue_stg.json.gz: small files in VUE-STG's form, and the results of VUE-STG's own evaluator for them.

    git clone https://github.com/bytedance/vidi && git -C vidi checkout fc30c87
    python tests/goldens/make_vue_stg.py vidi/VUE_STG

evaluate.py runs unchanged; it needs pandas.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

OUT = Path(__file__).parents[1] / "data" / "vue_stg.json.gz"
METRICS = ("t_Precision", "t_Recall", "t_IoU", "v_Precision", "v_Recall", "v_IoU", "v_IoU_Int")
GROUPS = ("area_group", "video_length_group", "gt_length_group")
QUERIES = 60


def text_of(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def box(draw: random.Random, size: float) -> list[float]:
    x, y = draw.uniform(0, 1 - size), draw.uniform(0, 1 - size)
    return [round(value, 3) for value in (x, y, x + size, y + size * draw.uniform(0.5, 1))]


def files() -> dict[str, str]:
    """The benchmark's three files and a file of predictions, with every irregularity that the evaluator handles."""
    draw = random.Random(4)
    tubes: list[list[Any]] = [["query_id", "time_ms", "time_normalized", "x0", "y0", "x1", "y1"]]
    predicted: list[list[Any]] = [["query_id", "time_ms", "x0", "y0", "x1", "y1"]]
    queries, videos = [["query_id", "query_text", "video_id"]], [["video_id", "video_duration"]]
    for i in range(QUERIES):
        if i % 2 == 0:
            videos.append([f"v{i // 2}", str(round(draw.uniform(10, 1700), 3))])
        queries.append([f"q{i}", f"the object {i}", f"v{i // 2}"])
        first, size = draw.randrange(5, 100), draw.choice([0.1, 0.3, 0.7])
        seconds = list(range(first, first + draw.randrange(1, 25)))
        if i % 7 == 0:  # two events
            seconds += list(range(seconds[-1] + 6, seconds[-1] + 12))
        true = box(draw, size)
        for second in seconds:
            tubes.append([f"q{i}", 1000 * second, 0.5, *true])
        if i % 11 == 3:  # no prediction
            continue
        shift = draw.choice([0, 0, 1, -2, 200])
        for second in seconds:
            moved = [round(value + draw.uniform(-0.05, 0.05), 4) for value in true]  # may leave the frame
            time = 1000 * (second + shift) + draw.choice([0, 0, 499, 500, -500, 501])
            if i % 13 == 5:
                moved = [moved[2], moved[3], moved[0], moved[1]]  # swapped corners
            if draw.random() < 0.05:
                moved[2] = moved[0]  # a box without area
            predicted.append([f"q{i}", time, *moved])
            if draw.random() < 0.1:
                predicted.append([f"q{i}", time, *box(draw, 0.2)])  # a second box for this second
        if i % 17 == 2:
            predicted.append([f"q{i}", 1000 * seconds[0], "", *true[1:]])  # a line without a number
    predicted.append(["nobody", 1000, 0.1, 0.1, 0.2, 0.2])
    return {
        "tubes.csv": text_of(tubes),
        "query.csv": text_of(queries),
        "video.csv": text_of(videos),
        "predicted.csv": text_of(predicted),
    }


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    from evaluate import SpatioTemporalEvaluator

    given = files()
    with TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        for file, text in given.items():
            Path(name, file).write_text(text)
        evaluator = SpatioTemporalEvaluator(step_ms=1000)
        evaluator.load_dataset(name)
        table = evaluator.evaluate_pred_file(f"{name}/predicted.csv")
    numbers = table[list(METRICS)].astype(float)
    data = {
        "given": given,
        "queries": list(table["query_id"]),
        "each": {metric: [None if v != v else v for v in numbers[metric].tolist()] for metric in METRICS},
        "mean": table[list(METRICS)].astype(float).mean().to_dict(),
        "groups": {
            group: [
                [len(part), *part[list(METRICS)].astype(float).mean().tolist()]
                for _, part in table.groupby(group, observed=True)
            ]
            for group in GROUPS
        },
    }
    OUT.write_bytes(gzip.compress(json.dumps(data).encode(), mtime=0))
    print(f"{OUT}: {len(data['queries'])} queries, {OUT.stat().st_size} bytes", data["mean"])


if __name__ == "__main__":
    main()
