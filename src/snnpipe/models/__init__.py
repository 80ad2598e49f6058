"""Architectures: from a dataset's shape to an untrained Keras model with raw logits."""
