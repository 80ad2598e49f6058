"""Neuron types that Nengo lacks, and the choice of the type that stands for a model's activation."""
