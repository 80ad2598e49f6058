"""What the trainer's line is made of: its log, its passes over images, what a run is known by, and its summary."""
