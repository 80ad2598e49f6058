"""The simulator that follows spikes, compiled by Numba."""
