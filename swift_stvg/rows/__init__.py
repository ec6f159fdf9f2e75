"""Rows for ms-swift, and the contract that each carries."""
