"""How the jobs of a multi-run are chosen, and where they run: plugins, in the package where Hydra wants them."""
