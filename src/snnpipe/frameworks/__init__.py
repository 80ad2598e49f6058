"""What snnpipe needs of TensorFlow, Keras and NengoDL, and how it reads their models."""
