"""A reward for rows of other datasets: 1 if the text equals the row's `solution`, None for rows without a solution."""

from swift.rewards import ORM, orms


class ExactAnswer(ORM):
    """As the module's docstring says."""

    def __call__(self, completions, solution=None, **kwargs):
        expected = solution or [None] * len(completions)
        return [None if s is None else float(c.strip() == s) for c, s in zip(completions, expected, strict=True)]


orms["exact_answer"] = ExactAnswer
