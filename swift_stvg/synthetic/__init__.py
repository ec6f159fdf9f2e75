"""Clips and models that are made here."""
