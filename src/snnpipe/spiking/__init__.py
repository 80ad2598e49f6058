"""A spiking network in memory: converted in one call, simulated, evaluated, saved and loaded."""
