"""Learning rates over the steps, and weight decay, against their formulas."""

import numpy as np
import pytest

from snnpipe import Cnn2d, KerasTraining, Mlp, NengoDLTraining
from snnpipe.base.errors import ConfigError
from snnpipe.frameworks.compat import start_afresh
from snnpipe.testing import SPEC, Silent
from snnpipe.training.loop import FitSettings

PEAK, END = 0.2, 0.1


def rates(steps, **settings):
    """The learning rate at some of 100 steps."""
    optimizer = FitSettings(epochs=2, learning_rate=PEAK, schedule_end=END, **settings).make_optimizer(50)
    rate = optimizer._learning_rate
    return [float(rate(step)) if callable(rate) else float(rate) for step in steps]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"schedule": "one_cycle"}, [1 / 25, (1 + 1 / 25) / 2, 1, (1 + END) / 2, END]),
        ({"schedule": "cosine", "schedule_warmup": 0.2}, [1 / 25, (1 + 1 / 25) / 2, 1, (1 + END) / 2, END]),
        ({"schedule": "exponential", "schedule_warmup": 0.2}, [1 / 25, (1 + 1 / 25) / 2, 1, END**0.5, END]),
        ({"schedule_warmup": 0.2}, [1 / 25, (1 + 1 / 25) / 2, 1, 1, 1]),
        ({"schedule": "one_cycle", "schedule_warmup": 0.0}, [1, 1 - 0.9 * 0.1, 1 - 0.9 * 0.2, 1 - 0.9 * 0.6, END]),
    ],
)
def test_the_learning_rate_rises_and_falls(settings, expected):
    assert rates([0, 10, 20, 60, 100], **settings) == pytest.approx([PEAK * share for share in expected], rel=1e-5)


def test_the_rise_takes_its_share_of_any_number_of_steps():
    for steps in (1, 2, 7):
        rate = FitSettings(epochs=1, schedule="one_cycle", schedule_warmup=0.99).make_optimizer(steps)._learning_rate
        values = [float(rate(step)) for step in range(steps)]
        assert all(np.isfinite(values)) and max(values) == pytest.approx(2e-3)


def after_one_step(path, data, **settings):
    start_afresh(0)
    model = Mlp(units=[6]).build(data.spec)
    before = model.get_weights()
    path(epochs=1, learning_rate=0.1, optimizer="sgd", **settings).fit(model, data, Silent())
    return dict(zip([w.name for w in model.weights], zip(before, model.get_weights(), strict=True), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("path", [KerasTraining, NengoDLTraining])
def test_the_gradient_of_the_penalty_is_the_decay_times_the_weight(digits, path):
    data = digits(max_train_images=32, validation_share=0.0)
    plain, decayed = after_one_step(path, data), after_one_step(path, data, weight_decay=0.5)
    for name, (before, after) in decayed.items():
        np.testing.assert_allclose(after, plain[name][1] - 0.1 * 0.5 * before, atol=1e-6)
        assert "bias" in name or not np.allclose(after, plain[name][1])


def test_the_optimizer_gets_the_gradient_with_the_decay():
    """Adam's first step has the size of the learning rate for any gradient, so a decoupled decay would add to it."""
    import tensorflow as tf

    weight = tf.Variable([2.0, -3.0], name="kernel")
    FitSettings(learning_rate=0.1, weight_decay=0.5).make_optimizer().apply_gradients([(tf.zeros(2), weight)])
    np.testing.assert_allclose(weight, [1.9, -2.9], atol=1e-5)


def test_weights_that_are_left_out_do_not_decay(digits):
    data = digits(max_train_images=32, validation_share=0.0)
    excluded = {"weight_decay": 0.5, "weight_decay_exclude": ["*/bias", "logits/kernel"]}
    plain, decayed = after_one_step(KerasTraining, data), after_one_step(KerasTraining, data, **excluded)
    same = {name for name in plain if np.allclose(plain[name][1], decayed[name][1], atol=1e-7)}
    assert same == {"dense/bias:0", "logits/kernel:0", "logits/bias:0"}


def test_settings_that_do_not_fit_are_named():
    with pytest.raises(ConfigError, match=r"got 0.1, and adamw has .*optimizer_options=\{weight_decay: 0.1"):
        FitSettings(weight_decay=0.1, optimizer="adamw")
    with pytest.raises(ConfigError, match="weight_decay: got 0.1, and sgd has a weight decay of its own here"):
        FitSettings(weight_decay=0.1, optimizer="sgd", optimizer_options={"weight_decay": 0.1})
    with pytest.raises(ConfigError, match=r"weight_decay_exclude: got \['a'\], and training.weight_decay is 0"):
        FitSettings(weight_decay_exclude=["a"])
    model = Cnn2d(filters=[4], dense=8, batch_normalization=True).build(SPEC)
    for excluded, says in (
        (["*/bias", "conv2d_bm/*"], r"no weights are called 'conv2d_bm/\*'; did you mean 'conv2d_bn/"),
        (["*"], "leaves no weights to decay"),
    ):
        with pytest.raises(ConfigError, match=says):
            KerasTraining(weight_decay=0.1, weight_decay_exclude=excluded).check(model)
    KerasTraining(weight_decay=0.1, weight_decay_exclude=["*/bias", "conv2d_bn/*"]).check(model)
    with pytest.raises(ConfigError, match="training=nengo_dl cannot leave weights out.*: take null, or training=keras"):
        NengoDLTraining(weight_decay=0.1, weight_decay_exclude=["*/bias"]).check(Mlp().build(SPEC))
