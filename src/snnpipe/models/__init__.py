"""Architectures, which build an untrained Keras model with raw logits from the shape of a dataset's samples."""
