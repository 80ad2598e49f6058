"""Runs in an MLflow store: the logger, and the functions with which commands use a store."""
