"""The optimizer of a training: its learning rate over the steps, and its weight decay."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from snnpipe.base.errors import ConfigError, did_you_mean, one_line
from snnpipe.frameworks.compat import import_tensorflow, import_tf_keras

if TYPE_CHECKING:
    import tf_keras

OptimizerName = Literal["adam", "adamw", "nadam", "rmsprop", "sgd"]
ScheduleName = Literal["constant", "cosine", "exponential", "one_cycle"]

_CLASSES = {"adam": "Adam", "adamw": "AdamW", "nadam": "Nadam", "rmsprop": "RMSprop", "sgd": "SGD"}
_FIRST = 1 / 25
"""Learning rate at the first step of a warm-up, as a share of its peak."""
_WARMUP_OF_ONE_CYCLE = 0.2


def learning_rate(schedule: ScheduleName, peak: float, end: float, warmup: float | None, steps: int) -> Any:
    """Return a learning rate as Keras's optimizers take it: a number, or a schedule over the steps.

    With a warm-up, the rate rises linearly over its share of the steps, from 1/25 of the peak to the peak. The schedule
    then takes the remaining steps. ``one_cycle`` falls linearly (Smith 2018, arXiv:1803.09820, without its cycle of the
    momentum).

    Parameters
    ----------
    schedule
        Name of the schedule.
    peak
        Learning rate at the first step after the warm-up.
    end
        Learning rate after the last step, as a share of the peak.
    warmup
        Share of the steps; None for 0.2 with ``one_cycle``, and 0 with the other schedules.
    steps
        Number of steps of the training.
    """
    schedules = import_tf_keras().optimizers.schedules
    if warmup is None:
        warmup = _WARMUP_OF_ONE_CYCLE if schedule == "one_cycle" else 0.0
    rising = int(warmup * steps)
    falling = steps - rising
    rate: Any = peak
    if schedule == "cosine":
        rate = schedules.CosineDecay(peak, falling, alpha=end)
    elif schedule == "exponential":
        rate = schedules.ExponentialDecay(peak, falling, end)
    elif schedule == "one_cycle":
        rate = schedules.PolynomialDecay(peak, falling, end_learning_rate=peak * end)
    return _after_warmup(rate, peak, rising) if rising else rate


def _after_warmup(rate: Any, peak: float, rising: int) -> Any:
    """Return a schedule that rises to ``peak`` over a number of steps and then goes on with ``rate``."""
    tf = import_tensorflow()

    class Warmup(import_tf_keras().optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # at run time
        def __call__(self, step: Any) -> Any:
            step = tf.cast(step, tf.float32)
            after = rate(tf.maximum(step - rising, 0.0)) if callable(rate) else rate
            return tf.where(step < rising, peak * (_FIRST + (1 - _FIRST) * step / rising), after)

        def get_config(self) -> dict[str, Any]:
            return {"peak": peak, "rising": rising, "rate": rate.get_config() if callable(rate) else rate}

    return Warmup()


def make_optimizer(
    name: OptimizerName, rate: Any, options: Mapping[str, Any], weight_decay: float, excluded: Sequence[str]
) -> "tf_keras.optimizers.Optimizer":
    """Return an optimizer of Keras, with the gradient of an L2 penalty added to that of the loss.

    Parameters
    ----------
    name
        Name of the optimizer.
    rate
        Learning rate, or a schedule.
    options
        Further arguments of the optimizer.
    weight_decay
        Factor on a weight in its gradient.
    excluded
        Names or patterns of variables that do not decay.

    Raises
    ------
    ConfigError
        If the optimizer does not take one of its options.
    """
    kind = getattr(import_tf_keras().optimizers, _CLASSES[name])
    if weight_decay:
        kind = _decaying(kind, weight_decay, lambda variable: not _is_among(excluded, variable))
    try:
        return kind(learning_rate=rate, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"training.optimizer_options: got {dict(options)!r}, which {name} does not take ({one_line(error)})"
        ) from error


def _decaying(kind: Any, weight_decay: float, decays: Callable[[Any], bool]) -> Any:
    """Return an optimizer class that adds the gradient of an L2 penalty, ``weight_decay`` times the weight."""
    tf = import_tensorflow()

    class Decaying(kind):
        def apply_gradients(self, grads_and_vars: Any, *arguments: Any, **options: Any) -> Any:
            pairs = [
                (tf.convert_to_tensor(gradient) + weight_decay * weight, weight)
                if gradient is not None and decays(weight)
                else (gradient, weight)
                for gradient, weight in grads_and_vars
            ]
            return super().apply_gradients(pairs, *arguments, **options)

    return Decaying


def check_weight_decay(
    weight_decay: float, excluded: Sequence[str], optimizer: OptimizerName, options: Mapping[str, Any]
) -> None:
    """Raise `ConfigError` if the settings of the weight decay do not fit the optimizer or each other."""
    key = "training.weight_decay"
    if weight_decay and (optimizer == "adamw" or options.get("weight_decay")):
        raise ConfigError(
            f"{key}: got {weight_decay:g}, and {optimizer} has a weight decay of its own here: take {key}=0.0 and "
            f"'training.optimizer_options={{weight_decay: {weight_decay:g}}}', or training.optimizer=sgd without it"
        )
    if excluded and not weight_decay:
        raise ConfigError(
            f"{key}_exclude: got {list(excluded)!r}, and {key} is 0: take {key}_exclude=null, or {key}=0.0005"
        )


def check_excluded(excluded: Sequence[str], model: "tf_keras.Model") -> None:
    """Raise `ConfigError` if a name or pattern fits none of a model's trainable variables, or all fit one."""
    key, variables = "training.weight_decay_exclude", model.trainable_variables
    names = [_name(variable) for variable in variables]
    problems = [
        f"{key}: no weights are called {pattern!r}; {did_you_mean(pattern, names)}"
        for pattern in excluded
        if not any(_is_among([pattern], variable) for variable in variables)
    ]
    if problems:
        raise ConfigError(*problems)
    if excluded and all(_is_among(excluded, variable) for variable in variables):
        raise ConfigError(
            f"{key}: got {list(excluded)!r}, which leaves no weights to decay: take training.weight_decay=0.0 and "
            f"{key}=null"
        )


def _is_among(patterns: Sequence[str], variable: Any) -> bool:
    return any(fnmatchcase(_name(variable), pattern) for pattern in patterns)


def _name(variable: Any) -> str:
    """Return a variable's name with its layer, such as ``conv2d/kernel``."""
    return str(variable.name).partition(":")[0]
