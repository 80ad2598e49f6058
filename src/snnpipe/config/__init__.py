"""The way from a command line to a trainer: a configuration is composed, checked and built."""
