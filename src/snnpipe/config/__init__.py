"""From a command line to a trainer: composed, checked and built."""
