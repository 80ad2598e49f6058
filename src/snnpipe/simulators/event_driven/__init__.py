"""The event-driven simulator, which follows spikes and is compiled by Numba."""
