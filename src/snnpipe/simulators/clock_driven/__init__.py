"""The simulator that computes every neuron at every step, in TensorFlow."""
