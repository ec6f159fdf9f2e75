"""Run answer.py of several folders in one process that cannot import swift_stvg or ms-swift.

python alone.py '[["FOLDER/answer.py", "clip.mp4", "a sentence", "--json"]]' prints a line of JSON for each.
"""

import contextlib
import io
import json
import runpy
import sys

sys.modules["swift_stvg"] = sys.modules["swift"] = sys.modules["decord"] = None  # importing these is an error

for words in json.loads(sys.argv[1]):
    sys.argv = words
    for name in ("answer", "answer_video"):  # of the folder before
        sys.modules.pop(name, None)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        runpy.run_path(words[0], run_name="__main__")
    print("ANSWER", json.dumps(said.getvalue()), flush=True)
