"""Asking a model or a server, and what its replies mean."""
