"""Helpers for the whole package: JSON, atomic writing, output folders, processes, validation."""
