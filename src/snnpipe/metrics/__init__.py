"""Metrics of a simulation, which are accumulated batch by batch."""
