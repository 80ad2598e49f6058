"""What snnpipe knows of a neuron type: one table, an entry for each class, the user's own included."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import exp, inf
from typing import TYPE_CHECKING, Any

from snnpipe.base.errors import ConfigError

if TYPE_CHECKING:
    import nengo

Seeds = Callable[[], Any]
"""Makes the seeds of TensorFlow's stateless draws, those of each image in the step: whole numbers, shape ``(b, 2)``."""

Step = Callable[[Any, tuple[Any, ...], Seeds], tuple[Any, tuple[Any, ...]]]
"""From drive, state and seeds to output and new state."""


def _as_it_is(current: Any) -> Any:
    return current


def _pass_on(drive: Any, state: tuple[Any, ...], seeds: Seeds) -> tuple[Any, tuple[Any, ...]]:
    return drive, state


@dataclass(frozen=True, eq=False, kw_only=True)
class Equation:
    """A step of all neurons of a layer, in TensorFlow; all tensors have the shape ``(b, ...)`` of the layer's output.

    It has two parts, because what depends on the current alone is computed once where the current is constant. It must
    keep the precision of the tensors that it gets, float32 or float64.

    Attributes
    ----------
    step
        From drive, state and seeds to the step's output and the new state. The output is the number of spikes of each
        neuron; of a rate neuron, its rate (Hz, amplitude included) times the time step. As it stands, it is the drive.
    state
        Names of the state variables, in the order in which ``step`` takes and gives them; Nengo's type has them too.
    drive
        From current to what ``step`` takes.
    current_factor
        What the input current is multiplied with before ``drive``; it costs nothing, because it goes into the weights.
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
    """How the event-driven kernel runs neurons; they take the current that ``Equation.current_factor`` makes.

    Attributes
    ----------
    function
        Name of the kernel's function (``simulators/event_driven/kernel.py``).
    parameters
        Constants that the function takes, five at most.
    threshold
        Current up to which a neuron that has not reached a spike never does.
    direct
        Whether neurons add up a constant current, and nothing else, so that their spike times can be computed.
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
    """Return the current with which LIF neurons fire at half of their refractory limit.

    The rate 1 / (tau_ref + tau_rc ln(1 + 1 / (J - 1))) is 1 / (2 tau_ref) at J = 1 / (1 - exp(-tau_ref / tau_rc)).
    """
    if not getattr(neuron, "tau_ref", 0) or not hasattr(neuron, "tau_rc"):
        return None
    return float(1 / (1 - exp(-neuron.tau_ref / neuron.tau_rc)))


@dataclass(frozen=True, eq=False, kw_only=True)
class NeuronModel:
    """What snnpipe knows of a class of Nengo's neurons. Functions take an object of the class first.

    Where a function returns None, or is not given, there is no such thing. A neuron's ``amplitude`` is Nengo's own
    parameter of that name: one spike is an output of ``amplitude / dt``.

    Attributes
    ----------
    equation
        ``(neuron, dt)``: its step in TensorFlow, for steps of ``dt`` s. `clock_driven` needs it.
    events
        ``(neuron, dt)``: its rule in the event-driven kernel.
    integrated
        ``(neuron, dt)``: of a rate type, the kernel's rule for neurons that integrate it (`nengo.RegularSpiking`).
    rate_version
        ``(neuron, dt)``: rate neurons whose output is its mean output under a constant current, for the diagnosis.
    refractory
        ``(neuron)``: its refractory period, s; as it stands, Nengo's parameter ``tau_ref``.
    half_limit_current
        ``(neuron)``: the current with which it fires at half of the rate that its refractory period allows.
    most_spikes
        ``(neuron, dt)``: how often it spikes in a step at most.
    signed
        ``(neuron)``: whether its output may be below 0; as it stands, Nengo's ``negative``.
    random
        Whether it draws its spikes, so that two simulators agree in distribution only.
    clipped
        ``(neuron, max_rate)``: such neurons whose current is clipped at ``max_rate`` Hz, for ReLU6.
    leaky
        ``(neuron, slope)``: such neurons with a slope for negative currents, for LeakyReLU.
    config
        Its file in the config group ``neuron``, where that stands for the class.
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
"""A type that is not registered: it runs in NengoDL only, and its spikes count by their size, of either sign."""

TABLE: dict[type, NeuronModel] = {}
"""What is known, by class; `snnpipe.neurons.table` has all of it."""


def entry_of(neuron: Any) -> NeuronModel:
    """Return what has been entered for a neuron's class."""
    return TABLE.get(type(neuron), _UNKNOWN)
