"""Checkpoints for others."""
