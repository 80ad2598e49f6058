"""Settings: their domains, their check against a constructor's signature, settings per layer, settings as text."""
