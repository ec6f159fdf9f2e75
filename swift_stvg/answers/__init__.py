"""The text of an answer: how it is written and read."""
