"""What a setting may be: domains, a constructor as a schema, settings for each layer, settings as text."""
