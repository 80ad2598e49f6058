"""Loggers record the parameters, metrics and files of a run."""
