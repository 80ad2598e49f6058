"""Plain data that passes between the parts. Nothing here knows a plugin."""
