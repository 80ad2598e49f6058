"""What passes between the parts: plain data, which knows no plugin."""
