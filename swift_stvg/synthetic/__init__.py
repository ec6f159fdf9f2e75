"""Synthetic clips and small random models."""
