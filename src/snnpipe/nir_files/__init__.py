"""Spiking networks in files of the Neuromorphic Intermediate Representation (NIR; Pedersen et al. 2024)."""
