"""How the jobs of a multi-run are chosen, and where they run: plugins, in the package where Hydra wants them."""


def register() -> None:
    """Tell Hydra of the plugins: it does not find them by itself in an editable install."""
    from hydra.core.plugins import Plugins

    from hydra_plugins.snnpipe.defaults_list import heed_every_override
    from hydra_plugins.snnpipe.optuna_sweeper import OptunaSweeper
    from hydra_plugins.snnpipe.ray_launcher import RayLauncher
    from hydra_plugins.snnpipe.submitit_launcher import SubmititLauncher

    for plugin in (OptunaSweeper, RayLauncher, SubmititLauncher):
        Plugins.instance().register(plugin)
    heed_every_override()
