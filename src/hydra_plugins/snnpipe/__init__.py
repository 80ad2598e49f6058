"""Hydra plugins that choose the jobs of a multi-run and run them on clusters. Hydra needs them in this package."""


def register() -> None:
    """Register the plugins with Hydra, which does not discover them in an editable install."""
    from hydra.core.plugins import Plugins

    from hydra_plugins.snnpipe.defaults_list import heed_every_override
    from hydra_plugins.snnpipe.optuna_sweeper import OptunaSweeper
    from hydra_plugins.snnpipe.ray_launcher import RayLauncher
    from hydra_plugins.snnpipe.submitit_launcher import SubmititLauncher

    for plugin in (OptunaSweeper, RayLauncher, SubmititLauncher):
        Plugins.instance().register(plugin)
    heed_every_override()
