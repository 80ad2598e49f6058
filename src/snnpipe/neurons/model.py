"""What snnpipe knows about neuron types: one table with an entry for each class, including the user's own."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import exp, inf
from typing import TYPE_CHECKING, Any

from snnpipe.base.errors import ConfigError

if TYPE_CHECKING:
    import nengo

Seeds = Callable[[], Any]
"""Makes the seeds of TensorFlow's stateless draws, one pair of whole numbers for each image: shape ``(b, 2)``."""

Step = Callable[[Any, tuple[Any, ...], Seeds], tuple[Any, tuple[Any, ...]]]
"""Computes output and new state from drive, state and seeds."""


def _as_it_is(current: Any) -> Any:
    return current


def _pass_on(drive: Any, state: tuple[Any, ...], seeds: Seeds) -> tuple[Any, tuple[Any, ...]]:
    return drive, state


@dataclass(frozen=True, eq=False, kw_only=True)
class Equation:
    """A step of all neurons of a layer, in TensorFlow; all tensors have the shape ``(b, ...)`` of the layer's output.

    The equation has two parts: ``drive`` depends on the current alone, and is computed once if the current is constant;
    ``step`` does the rest. Both must keep the precision of the tensors that they take, float32 or float64.

    Attributes
    ----------
    step
        Computes the step's output and the new state from drive, state and seeds. The output is the number of spikes of
        each neuron; for rate neurons, it is the rate (Hz, amplitude included) times the time step. By default, the
        output is the drive.
    state
        Names of the state variables, in the order in which ``step`` takes and returns them. The ``state`` of the class
        must have these names too.
    drive
        Computes the drive, which ``step`` takes, from the current.
    current_factor
        Factor on the input current before ``drive``. It costs nothing, because it is folded into the weights.
    """

    step: Step = _pass_on
    state: tuple[str, ...] = ()
    drive: Callable[[Any], Any] = _as_it_is
    current_factor: float = 1.0

    def __post_init__(self) -> None:
        _require_callables(self, "step", "drive")
        if isinstance(self.state, str) or not all(isinstance(name, str) for name in self.state):
            raise ConfigError(f"Equation.state: got {self.state!r}: takes a tuple of names, such as ('voltage',)")


@dataclass(frozen=True, eq=False, kw_only=True)
class EventRule:
    """How the event-driven kernel runs neurons, whose current has been multiplied by ``Equation.current_factor``.

    Attributes
    ----------
    function
        Name of the kernel's function (``simulators/event_driven/spiking.py``).
    parameters
        Constants that the function takes, at most five.
    threshold
        Constant current up to which a neuron never spikes, if its voltage is below a spike at the start.
    direct
        Whether the neurons only add up a constant current, so that their spike times can be computed directly.
    """

    function: str
    parameters: tuple[float, ...] = ()
    threshold: float = 0.0
    direct: bool = False


def _require_callables(instance: Any, *names: str) -> None:
    for name in names:
        value = getattr(instance, name)
        if not callable(value):
            where = f"{type(instance).__name__}.{name}"
            raise ConfigError(f"{where}: got {value!r}: takes a function (help(snnpipe.{type(instance).__name__}))")


def _none(*arguments: Any) -> None:
    return None


def _may_be_negative(neuron: Any) -> bool:
    return bool(neuron.negative)


def _tau_ref(neuron: Any) -> float | None:
    tau_ref = getattr(neuron, "tau_ref", None)
    return None if tau_ref is None else float(tau_ref)


def _any_number(neuron: Any, dt: float) -> float:
    return inf


def lif_half_limit_current(neuron: Any) -> float | None:
    """Return the current at which LIF neurons fire at half of the rate that their refractory period allows.

    The rate 1 / (tau_ref + tau_rc ln(1 + 1 / (J - 1))) is 1 / (2 tau_ref) at J = 1 / (1 - exp(-tau_ref / tau_rc)).
    """
    if not getattr(neuron, "tau_ref", 0) or not hasattr(neuron, "tau_rc"):
        return None
    return float(1 / (1 - exp(-neuron.tau_ref / neuron.tau_rc)))


@dataclass(frozen=True, eq=False, kw_only=True)
class NeuronModel:
    """What snnpipe knows about a class of Nengo neurons. The functions take an object of the class first.

    A function that returns None says that the class does not have what the function describes. ``amplitude`` is Nengo's
    own parameter of that name: one spike is an output of ``amplitude / dt``.

    Attributes
    ----------
    equation
        ``(neuron, dt)``: step of the neuron in TensorFlow, for steps of ``dt`` s. `clock_driven` needs it.
    events
        ``(neuron, dt)``: rule of the neuron in the event-driven kernel.
    integrated
        ``(neuron, dt)``: for a rate type, the kernel's rule for spiking neurons that integrate its rate
        (`nengo.RegularSpiking`).
    rate_version
        ``(neuron, dt)``: rate neurons whose output is the neuron's mean output under a constant current, for the
        diagnosis.
    refractory
        ``(neuron)``: refractory period, s. The default is Nengo's parameter ``tau_ref``.
    half_limit_current
        ``(neuron)``: current at which the neuron fires at half of the rate that its refractory period allows.
    most_spikes
        ``(neuron, dt)``: highest number of spikes of a neuron in a step. The default has no limit.
    signed
        ``(neuron)``: whether the output may be below 0. The default is Nengo's ``negative``.
    random
        Whether the neuron draws its spikes at random, so that two simulators agree in distribution only.
    clipped
        ``(neuron, max_rate)``: the same neurons with the current clipped at ``max_rate`` Hz, for ReLU6.
    leaky
        ``(neuron, slope)``: the same neurons with a slope for negative currents, for LeakyReLU.
    config
        File in the config group ``neuron`` that stands for the class; empty if there is none.
    """

    equation: Callable[[Any, float], Equation | None] = _none
    events: Callable[[Any, float], EventRule | None] = _none
    integrated: Callable[[Any, float], EventRule | None] = _none
    rate_version: "Callable[[Any, float], nengo.neurons.NeuronType | None]" = _none
    refractory: Callable[[Any], float | None] = _tau_ref
    half_limit_current: Callable[[Any], float | None] = _none
    most_spikes: Callable[[Any, float], float] = _any_number
    signed: Callable[[Any], bool] = _may_be_negative
    random: bool = False
    clipped: "Callable[[Any, float], nengo.neurons.NeuronType | None]" = _none
    leaky: "Callable[[Any, float], nengo.neurons.NeuronType | None]" = _none
    config: str = ""

    def __post_init__(self) -> None:
        _require_callables(self, *(own.name for own in fields(self) if own.name not in ("random", "config")))
        if not isinstance(self.random, bool) or not isinstance(self.config, str):
            raise ConfigError(
                f"NeuronModel: got random={self.random!r}, config={self.config!r}: a truth value and a text"
            )


_UNKNOWN = NeuronModel(half_limit_current=lif_half_limit_current, signed=lambda neuron: True)
"""Entry for types that are not registered. They run in NengoDL only, and their spikes may have either sign."""

TABLE: dict[type, NeuronModel] = {}
"""Entry of each class. `snnpipe.neurons.table` looks entries up after it has loaded the built-in ones."""


def entry_of(neuron: Any) -> NeuronModel:
    """Return the entry of a neuron's class."""
    return TABLE.get(type(neuron), _UNKNOWN)
