"""What happens beside the main line, at its fixed points."""
