"""Run a spiking network over time."""
