"""What people type: the main command, and the small ones beside it."""
