"""The diagnosis of a conversion: which layers lose accuracy, and which settings to try."""
