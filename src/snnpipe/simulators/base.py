"""What every built-in simulator has besides its settings."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from snnpipe.errors import SimulationError
from snnpipe.schema import check_fields
from snnpipe.types import SimulationSettings, SpikingNetwork

if TYPE_CHECKING:
    from snnpipe.simulators.nengo_dl import NengoDLSimulator


@dataclass(frozen=True)
class BuiltInSimulator(SimulationSettings):
    """Settings that are checked, and the reference that they can be held against."""

    def __post_init__(self) -> None:
        check_fields(self, "simulator")

    def reference(self) -> "NengoDLSimulator":
        """Return NengoDL's simulator with the same settings."""
        from snnpipe.simulators.nengo_dl import NengoDLSimulator

        return NengoDLSimulator(**{f.name: getattr(self, f.name) for f in fields(SimulationSettings)})


def require_converted(network: SpikingNetwork, simulator: str) -> None:
    """Raise `SimulationError` where a network was not converted from a Keras model."""
    if network.keras_model is None:
        raise SimulationError(
            f"simulator={simulator} runs networks that were converted from a Keras model, and this one is native "
            "Nengo: take simulator=nengo_dl"
        )
