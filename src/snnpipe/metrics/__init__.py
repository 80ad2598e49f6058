"""What a simulation is measured by, accumulated batch by batch."""
