"""Helpers that every other part may use. Nothing here knows another part."""
