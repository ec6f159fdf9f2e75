"""Recipes of ms-swift, checked before a run."""
