"""Simulators, which run a spiking network over time."""
