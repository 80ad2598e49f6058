"""Training paths, and the penalties on firing rates that they share."""
