"""Data modules, which stream datasets."""
