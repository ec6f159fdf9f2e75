"""The text of an answer: the instruction that asks for it, its form, and the reader of any text."""

from swift_stvg.answers.format import Answer, AnswerFormat, BoxList

__all__ = ["Answer", "AnswerFormat", "BoxList"]
