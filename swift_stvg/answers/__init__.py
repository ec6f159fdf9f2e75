"""The text of an answer: its instruction, its form and its reading."""

from swift_stvg.answers.format import Answer, AnswerFormat, BoxList

__all__ = ["Answer", "AnswerFormat", "BoxList"]
