"""Files that a run leaves for people: plots, tables, spikes, environment."""
