"""The clock-driven simulator, which computes every neuron at every step in TensorFlow."""
