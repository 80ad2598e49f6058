"""Callbacks that change a training: it serves runs without them only if nothing changed."""

import warnings

import numpy as np
import pytest
from test_trainer import make_small, only_run

from snnpipe import Callback, Checkpoints, CsvLogger, KerasTraining, MLflowLogger


class Stops(Callback):
    def on_epoch_end(self, state, progress):
        state.stop_training = True


def shrinks(hook):
    """A callback whose hook halves the weights."""

    def halve(self, state, *arguments):
        state.model.set_weights([weight / 2 for weight in state.model.get_weights()])

    return type("Shrinks", (Callback,), {hook: halve})()


class Watches(Callback):
    def on_epoch_end(self, state, progress):
        assert np.isfinite(state.model.get_weights()[0]).all()


def run(tmp_path, name, *callbacks):
    """Train two epochs and more in a store that all runs share."""
    loggers = [MLflowLogger(folder=str(tmp_path / "store")), CsvLogger(folder=str(tmp_path / name))]
    training = KerasTraining(epochs=2, learning_rate=0.05)
    return make_small(
        tmp_path, training=training, callbacks=list(callbacks), loggers=loggers, output_dir=tmp_path / name
    ).run()


@pytest.fixture
def plain(tmp_path_factory):
    """The figures of a training without callbacks."""
    return run(tmp_path_factory.mktemp("plain"), "run").metrics["ann/test_loss"]


@pytest.mark.parametrize(
    ("callback", "did"),
    [
        (Stops(), "callback Stops ended it"),
        (shrinks("on_stage_start"), "callback Shrinks changed the weights"),
        (shrinks("on_resumable_point"), "callback Shrinks changed the weights"),
        (shrinks("on_fit_start"), "callback Shrinks changed the weights"),
        (shrinks("on_train_batch_end"), "callback Shrinks changed the weights"),
        (shrinks("on_epoch_end"), "callback Shrinks changed the weights"),
    ],
    ids=["stops", "before a stage", "at a point to resume from", "at the start", "after a batch", "after an epoch"],
)
def test_a_changed_training_serves_no_other_run(tmp_path, plain, callback, did):
    with pytest.warns(UserWarning, match=f"the training is not shared with other runs: {did}: set changes_fit = True"):
        changed = run(tmp_path, "changed", callback)
    after = run(tmp_path, "after")
    assert changed.metrics["ann/test_loss"] != plain == after.metrics["ann/test_loss"]
    assert not after.trained_by


def test_a_callback_that_says_so_shares_with_its_like_alone(tmp_path, plain):
    class Declared(Stops):
        changes_fit = True

    first, second, without = run(tmp_path, "a", Declared()), run(tmp_path, "b", Declared()), run(tmp_path, "c")
    assert second.trained_by and second.metrics["ann/test_loss"] == first.metrics["ann/test_loss"]
    assert not without.trained_by and without.metrics["ann/test_loss"] == plain


def test_a_training_that_is_taken_tells_whose_epochs_are_left_out(tmp_path, plain):
    run(tmp_path, "a")
    with pytest.warns(UserWarning, match="is taken, without the epochs of callback Stops: training.reuse=false trains"):
        taken = run(tmp_path, "b", Stops())
    assert taken.trained_by and taken.metrics["ann/test_loss"] == plain


def test_an_end_after_the_last_epoch_changes_nothing(tmp_path):
    class Ends(Callback):
        def on_epoch_end(self, state, progress):
            state.stop_training = progress.epoch == progress.epochs

    run(tmp_path, "a", Ends())
    assert run(tmp_path, "b").trained_by


def test_a_callback_that_changes_nothing_does_not_hinder(tmp_path, plain):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the training is not shared")
        run(tmp_path, "a", Watches())
    after = run(tmp_path, "b")
    assert after.trained_by and after.metrics["ann/test_loss"] == plain


def test_a_change_before_an_interruption_is_not_forgotten(tmp_path):
    class Interrupts(Callback):
        def on_train_batch_end(self, state, progress):
            if progress.epoch == 1:
                raise KeyboardInterrupt

    folder, store = tmp_path / "run", tmp_path / "store"

    def trainer(*callbacks, resumed=None):
        loggers = [MLflowLogger(folder=str(store)), CsvLogger(folder=str(folder))]
        parts = {"training": KerasTraining(epochs=2), "callbacks": [*callbacks, Checkpoints(every_steps=1)]}
        return make_small(tmp_path, **parts, loggers=loggers, output_dir=folder, resumed=resumed)

    with pytest.raises(KeyboardInterrupt):
        trainer(shrinks("on_epoch_end"), Interrupts()).run()
    resumed = only_run(store).info.run_id
    with pytest.warns(UserWarning, match="not shared with other runs: callback Shrinks changed the weights"):
        trainer(resumed=resumed).run()
