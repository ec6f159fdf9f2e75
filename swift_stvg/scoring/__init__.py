"""Scores of predictions against the ground truth."""
