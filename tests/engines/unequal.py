"""A plugin with a reward that differs for any two answers, so that random models learn. It records their tokens."""

import json
import os

from swift.rewards import ORM, orms


class Unequal(ORM):
    def __call__(self, completions, response_token_ids, **kwargs):
        with open(os.environ["ANSWERS"], "a") as file:
            file.writelines(json.dumps(ids) + "\n" for ids in response_token_ids)
        return [float(sum(map(ord, text)) % 97) for text in completions]


orms["unequal"] = Unequal
