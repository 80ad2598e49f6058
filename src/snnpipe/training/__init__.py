"""Training paths, and the penalties that both share."""
