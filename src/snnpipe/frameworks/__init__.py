"""Prepares TensorFlow, Keras and NengoDL for snnpipe, and reads their models."""
