"""Scores and answers as text, drawings and pages."""
