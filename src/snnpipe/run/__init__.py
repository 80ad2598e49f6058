"""The parts of a run: its log, its passes over the images, its identity and its summary."""
