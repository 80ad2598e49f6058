"""Callbacks: code that a run calls at fixed points."""
