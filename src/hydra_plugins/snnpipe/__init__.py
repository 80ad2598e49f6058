"""How the jobs of a multi-run are chosen, and where they run: plugins, in the package where Hydra wants them."""

from hydra.core.plugins import Plugins


def register() -> None:
    """Tell Hydra of the plugins: its own search does not look into packages that are installed as editable."""
    from hydra_plugins.snnpipe.optuna_sweeper import OptunaSweeper

    for plugin in (OptunaSweeper,):
        Plugins.instance().register(plugin)
