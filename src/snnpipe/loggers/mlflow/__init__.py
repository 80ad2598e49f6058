"""Runs in an MLflow store: the logger, and what commands need of a store."""
