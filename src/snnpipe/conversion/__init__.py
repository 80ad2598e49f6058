"""Conversion of a trained model to a spiking network."""
