"""Neuron types that Nengo lacks, and which one stands for a model's activation."""
