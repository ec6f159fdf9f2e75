"""A reward for rows that are not ours: 1 for the very text of their `solution`, None where they have none."""

from swift.rewards import ORM, orms


class ExactAnswer(ORM):
    """See the module."""

    def __call__(self, completions, solution=None, **kwargs):
        expected = solution or [None] * len(completions)
        return [None if s is None else float(c.strip() == s) for c, s in zip(completions, expected, strict=True)]


orms["exact_answer"] = ExactAnswer
