"""The file that holds a spiking network as plain data."""
