"""From a trained model to a spiking network."""
