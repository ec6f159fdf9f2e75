"""The text of an answer: how it is asked for, written and read."""

from swift_stvg.answers.format import Answer, AnswerFormat, BoxList

__all__ = ["Answer", "AnswerFormat", "BoxList"]
