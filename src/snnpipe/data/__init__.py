"""Datasets, streamed."""
