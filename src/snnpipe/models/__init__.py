"""Architectures: from the shape of a dataset's samples to an untrained Keras model with raw logits."""
