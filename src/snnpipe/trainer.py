"""The main line: fit, convert, evaluate. It knows what plugins must have, and none of them by name."""

import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from math import gcd
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from snnpipe import __version__
from snnpipe.artifacts.environment import describe_environment, git_commit
from snnpipe.artifacts.predictions import Predictions
from snnpipe.artifacts.tables import write_csv, write_diagnosis, write_energy, write_json, write_plan, write_text
from snnpipe.base import signals
from snnpipe.base.errors import (
    ConfigError,
    ConversionError,
    SimulationError,
    StorageError,
    UserError,
    VerificationError,
    one_line,
)
from snnpipe.base.files import leftovers, locked, make_folder, new_folder
from snnpipe.base.identity import qualified_name
from snnpipe.base.masking import masked, masked_traceback
from snnpipe.conversion.fidelity import FEW, difference, require_same_rates
from snnpipe.data.checked_data import CheckedData
from snnpipe.frameworks.compat import require_keras_2, start_afresh
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.metrics.catalogue import built_in
from snnpipe.metrics.energy import OperationCounts, energy_estimates
from snnpipe.metrics.evaluation import Evaluation
from snnpipe.metrics.measurements import Measurements, require_metrics, require_own
from snnpipe.metrics.memory import peak_memory_mb
from snnpipe.metrics.passes import AnnPass, TestPass
from snnpipe.metrics.series import step_series
from snnpipe.metrics.verification import TOLERANCE
from snnpipe.models.adapt import adapt, build
from snnpipe.protocols import (
    Architecture,
    Callback,
    Converter,
    DataModule,
    Encoder,
    Logger,
    Metric,
    OpenSimulator,
    Simulator,
    Status,
    TrainingPath,
    require_lists,
    require_parts,
)
from snnpipe.run.content import Content, content_of, model_digest
from snnpipe.run.fingerprint import fit_fingerprint
from snnpipe.run.folder import require_own_folder
from snnpipe.run.log import FitLog, RunLog, attempt
from snnpipe.run.summary import description
from snnpipe.settings.describe import describe, flatten, to_yaml
from snnpipe.settings.naming import filter_tags, run_name
from snnpipe.values.checkpoint import Checkpoint, EarlierFit
from snnpipe.values.data import DataSpec
from snnpipe.values.diagnosis import Diagnosis
from snnpipe.values.metric import tags_of
from snnpipe.values.network import ConversionPlan, SpikingNetwork
from snnpipe.values.outcome import Outcome
from snnpipe.values.result import RunResult, UnsavedWeightsError
from snnpipe.values.run import RunState
from snnpipe.values.training_state import TrainingStates

if TYPE_CHECKING:
    import tf_keras


_P = ParamSpec("_P")
_T = TypeVar("_T")


def _explained(stage: Callable[Concatenate["Trainer", _P], _T]) -> Callable[Concatenate["Trainer", _P], _T]:
    """Let a stage of the line raise, in place of an error, what the data module makes of it."""

    @functools.wraps(stage)
    def told(trainer: "Trainer", /, *arguments: _P.args, **keywords: _P.kwargs) -> _T:
        try:
            return stage(trainer, *arguments, **keywords)
        except Exception as error:
            if (problem := trainer.data.explain(error)) is not None:
                raise problem from error
            raise

    return told


class Trainer:
    """Owns the main line of a run.

    ``run`` is ``fit``, ``convert`` and ``evaluate`` in order, logged. Each of the three can be called
    by itself; inside ``with trainer:`` what it does is logged, outside it is not.

    Parameters
    ----------
    data, architecture, training, converter, simulator, encoder
        The parts, one of each family of plugins.
    callbacks, loggers, metrics
        Any number of them.
    diagnosed_images
        Test images on which the accuracy that conversion loses is traced to layers; 0 for none.
    seed
        Of initial weights, the order of images, initial voltages and an encoder's draws.
    output_dir
        Folder for the run's files; it is made if it is missing. None makes a new one under ``mlruns/outputs``. One that
        holds the results of a run with other settings, or of other data, is refused.
    name
        Of the run; None makes one of its parts.
    config
        The configuration that the parts were built from, which is logged, passwords apart; None describes the parts.
    tags
        Further tags of the run.
    parent
        Id of the run that this one is a part of, as a job of a multi-run.
    command
        What to type to have the run again, which its report shows; empty where it was not started from a command line.
    resumed
        Id of an earlier run to go on with, which was stopped in the same ``output_dir``; of any text where no logger
        knows runs by their ids.
    durations
        Numbers of steps, fewer than the simulator's, whose metrics are wanted too: one simulation answers for all.
    """

    def __init__(
        self,
        *,
        data: DataModule,
        architecture: Architecture,
        training: TrainingPath,
        converter: Converter,
        simulator: Simulator,
        encoder: Encoder,
        callbacks: Sequence[Callback] = (),
        loggers: Sequence[Logger] = (),
        metrics: Sequence[Metric] = (),
        diagnosed_images: int = 100,
        seed: int = 0,
        output_dir: str | Path | None = None,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        parent: str | None = None,
        command: str = "",
        durations: Sequence[int] = (),
        resumed: str | None = None,
    ):
        self.data = CheckedData.of(data)
        require_parts({"training": training, "converter": converter, "simulator": simulator, "encoder": encoder})
        require_lists(callbacks=callbacks, loggers=loggers, metrics=metrics)
        specs = require_metrics(metrics)
        self.metrics = tuple(metrics)
        self.architecture = architecture
        self.training = training
        self.converter = converter
        self.simulator = simulator
        self.encoder = encoder
        self._log = RunLog(tuple(callbacks), tuple(loggers))
        self.diagnosed_images = diagnosed_images
        self.seed = seed
        self.output_dir = new_folder() if output_dir is None else Path(output_dir)
        self._parts = {
            "data": self.data.module,
            "model": architecture,
            "training": training,
            "conversion": converter,
            "simulator": simulator,
            "encoder": encoder,
        }
        self.config: dict[str, Any] = masked(
            config if config is not None else {"seed": seed} | describe(self._measured_by)
        )
        self._named = name is not None
        self.name = name or run_name(self.config)
        self.tags = dict(tags or {})
        self.parent = parent
        self.durations = sorted({*durations, simulator.n_steps})
        self.resumed = resumed
        self.was_logged = False
        self.model: tf_keras.Model | NativeNetwork | None = None
        self.network: SpikingNetwork | None = None
        self._ann: AnnPass | None = None
        self._content: Content | None = None
        self._state = RunState(
            seed,
            str(self.output_dir),
            self._log.artifact,
            log_metric=self._log_metric,
            specs=specs,
            settings=simulator,  # type: ignore[arg-type]  # a simulator has the settings' attributes
            run_name=self.name,
            command=command,
            one_of_several="sweep.job" in self.tags,
        )
        self._unsaved: Checkpoint | None = None
        self._states = TrainingStates(self.output_dir)
        self._held = ExitStack()

    @property
    def callbacks(self) -> Sequence[Callback]:
        """Who is told at the fixed points of the run."""
        return self._log.callbacks

    @callbacks.setter
    def callbacks(self, callbacks: Sequence[Callback]) -> None:
        self._log.callbacks = callbacks

    @property
    def loggers(self) -> Sequence[Logger]:
        """Where the run is logged."""
        return self._log.loggers

    # ------------------------------------------------------------------ the line

    def run(self) -> RunResult:
        """Fit, convert and evaluate, and log all of it.

        Returns
        -------
        RunResult
            Metrics, curves, and where to look.
        """
        with self:
            self.fit()
            self.convert()
            return self.evaluate()

    @_explained
    def prepare(self) -> "tf_keras.Model | NativeNetwork":
        """Make the data available, build the model and the conversion plan, and check that all will work.

        Returns
        -------
        tf_keras.Model
            The untrained model.

        Raises
        ------
        UserError
            If something cannot work as configured, before anything is trained.
        """
        self.data.prepare_data()
        self.data.setup()
        self.data.look()
        spec = self._state.spec = self.data.spec
        start_afresh(self.seed)
        built, self._content = build(self.architecture, spec), None
        require_keras_2(built)
        if not self._named:
            self.name = self._state.run_name = run_name(self.config, self.dataset_name)
        adapted = adapt(built, spec)
        self.model = adapted.model
        plan = self._state.plan = replace(self.converter.explain(self.model), notes=adapted.notes)
        plan.require_convertible()
        if not any(layer.neurons for layer in plan.layers):
            raise ConversionError("model: none of its layers becomes neurons: give it a layer with a ReLU")
        if self.simulator.readout == "spike_count" and not plan.spiking_output:
            raise ConfigError(
                "simulator.readout: got 'spike_count', but the output of this network is linear and does not spike: "
                "take 'last' or 'mean'"
            )
        self.training.check(self.model)
        if (check_classes := getattr(self.training, "check_classes", None)) is not None:
            check_classes(spec)
        untrained = self.converter.convert(self.model, self.seed)
        self._check_simulator(untrained)
        drawn = np.random.default_rng(self.seed).uniform(-1, 1, (FEW, *spec.image_shape)).astype(np.float32)
        require_same_rates(untrained, self.model, drawn, self.simulator)
        self._log.tell("on_prepare_end", self._state)
        return self.model

    @_explained
    def fit(self) -> Checkpoint:
        """Train the model and test it; returns its weights.

        Returns
        -------
        Checkpoint
            Also written to ``checkpoint/`` inside ``with``.
        """
        model = self.model or self.prepare()
        state = self._state
        state.stop_training, self._unsaved = False, None
        self._log.stage("fit")
        fingerprint = self._fit_fingerprint() if self._log.started else ""
        try:
            with self._shared_fit(fingerprint) as earlier:
                state.trained_by = earlier.run_id if earlier else ""
                self._begin("fit", self.data.spec.n_train)
                self._log.tell("on_fit_start", state)
                if earlier is None:
                    checkpoint = self.training.fit(model, self.data, self._sink(fingerprint))
                    checkpoint.require_finite()
                else:
                    checkpoint = earlier.checkpoint
                    checkpoint.apply(model, f"the training of run {earlier.run_id}")
                    self._tell_where_it_goes_on("after its training")
                    self._record(checkpoint.metrics, step=checkpoint.epochs)
                self._log.tag("fit.reused", str(earlier is not None).lower())
                self._unsaved = checkpoint if self._log.started else None
                self._save_checkpoint()
        except StorageError as error:  # which leaves a training that other runs cannot take
            if self._unsaved is None:
                raise
            self._log.go_on_without(error)
        self._log.tell("on_fit_end", state)
        self._ann = AnnPass.of(model, self.data)
        self._record(self._ann.metrics)
        return checkpoint

    def convert(self) -> SpikingNetwork:
        """Make the trained model a spiking network.

        Returns
        -------
        SpikingNetwork
            What a simulator runs.
        """
        if self.model is None:
            raise UserError("Trainer.convert: there is no model yet: call fit() first")
        self._log.stage("convert")
        self._begin("convert")
        self.network = self._state.network = self.converter.convert(self.model, self.seed)
        if self._state.spec is not None:
            (_, images, _), *_ = TestPass(self.data, self.simulator, self.encoder, self.seed, self.network).batches(
                FEW, FEW
            )
            require_same_rates(self.network, self.model, images, self.simulator)
        self._log.tell("on_convert_end", self._state)
        return self.network

    @_explained
    def evaluate(self) -> RunResult:
        """Simulate the test images and measure what the conversion costs.

        Returns
        -------
        RunResult
            Metrics, curves, and where to look.
        """
        if self.model is None or self.network is None:
            raise UserError("Trainer.evaluate: there is no spiking network yet: call convert() first")
        self._log.stage("evaluate")
        self._state.results = {
            name: v for name, v in self._state.results.items() if name.startswith(("fit/", "ann/"))
        } | self._state.logged
        if self._ann is None or not self._ann.is_of(self.model, self.data):
            self._ann = AnnPass.of(self.model, self.data)
            self._record(self._ann.metrics)
        simulator, durations = self.simulator, self.durations
        if len(durations) > 1:
            together = gcd(*durations, getattr(simulator, "chunk_steps", None) or 0)
            simulator = replace(simulator, chunk_steps=together)  # type: ignore[type-var]  # a dataclass
        evaluation = Evaluation(
            self.network,
            durations,
            simulator.dt,
            simulator.readout,
            simulator.readout_steps,
            self.data.spec.n_classes,
            self.encoder.constant,
        )
        images = TestPass(self.data, simulator, self.encoder, self.seed, self.network, self._ann.images)
        measurements = Measurements(self.metrics, self.network, simulator, durations)
        sampled = max(measurements.sample_images(images.n_images), *(c.sample_images for c in self.callbacks), 0)
        seconds = 0.0
        self._log.tell("on_simulation_start", self._state, images.n_images)
        with simulator.open(self.network, self.encoder.constant) as opened:
            self._verify(images, opened)
            known = {n: v for n, v in self._state.results.items() if built_in(n) or n in self._state.logged}
            self._begin("simulate", images.n_images)
            for batch, took in images.simulate(opened, self._ann.classes, evaluation, sampled, measurements):
                seconds += took
                self._log.tell("on_simulation_batch_end", self._state, batch)
            used = opened.used
        metrics = evaluation.metrics() | {
            "simulate/images_per_s": evaluation.images / max(seconds, 1e-9),
            "simulate/peak_memory_mb": peak_memory_mb(),
        }
        self._record(metrics)
        self._record(measurements.values())
        accuracy, agreement = evaluation.accuracy_at_step, evaluation.agreement_at_step
        curves = {"accuracy": accuracy.tolist(), "agreement": agreement.tolist()}
        for logger in self._log.started:
            logger.set_tag("simulator.used", used)
            for name, values, first in step_series(curves, simulator.n_steps, simulator.dt):
                logger.log_series(name, values, first)
        if self._log.started:
            with self._log.going_on():
                self._write_answers(accuracy, agreement, evaluation)
                if counts := OperationCounts.of(metrics):
                    energy = write_energy(self.output_dir / "tables" / "energy.csv", energy_estimates(counts))
                    self._log.artifact(energy, "tables")
        self._explain(images, evaluation.outcome())
        state = self._state
        told = state.trained_by, state.diagnosis, state.remarks, self.network.no_synops, state.specs
        self._log.tag("description", description(state.results, used, *told))
        self._log.tell("on_evaluate_end", self._state)
        self._log.stage("done")
        address = ({"run": self.name} if self._log.started else {}) | self._log.address | state.address
        result = RunResult(
            dict(self._state.results),
            curves["accuracy"],
            curves["agreement"],
            {n: known | evaluation.metrics(n) | measurements.values(n) for n in durations[:-1]},
            used,
            state.trained_by,
            address,
            state.diagnosis,
            state.remarks,
            self.network.no_synops,
            state.specs,
        )
        try:
            self._save_checkpoint()  # there may be room by now
        except StorageError as error:
            raise UnsavedWeightsError(f"the trained weights are nowhere: {error}", result) from error
        return result

    @property
    def go_on_with(self) -> Sequence[str]:
        """What to add to the command that began the run, to go on with it."""
        if run_id := self._state.run_id:
            return () if self.config.get("run_id") else (f"run_id={run_id}",)
        return "training.resume=true", f"paths.output_dir={self.output_dir}"

    # ------------------------------------------------------------------ its parts

    def _begin(self, stage: str, images: int = 0) -> None:
        """Tell that a stage begins, and on how many images."""
        self._log.tell("on_stage_start", self._state, stage, images)

    @property
    def dataset_name(self) -> str:
        """The name that the data module's spec has, or else its class."""
        return str(getattr(self._state.spec, "name", "") or type(self._parts["data"]).__name__)

    @property
    def _measured_by(self) -> dict[str, Any]:
        """The parts that a run's results come from."""
        return self._parts | ({"metrics": self.metrics} if self.metrics else {})

    @property
    def content(self) -> Content:
        """Digests of what the run depends on beside its configuration; prepares what is not prepared yet."""
        model = self.model or self.prepare()
        if self._content is None:
            callbacks = [callback for callback in self.callbacks if callback.changes_fit]
            self._content = content_of(self._measured_by | {"data": self.data}, model, self.config, callbacks)
        return self._content

    def _fit_fingerprint(self) -> str:
        assert self.model is not None
        parts = {"data": self.data, "training": self.training}
        content = self.content.of_the_fit
        if self._ann is not None:  # trained before, by this trainer
            content["model"] = model_digest(self.model)
        return fit_fingerprint(
            self.config,
            self.data.spec,
            {name: getattr(part, "without_effect_on_fit", ()) for name, part in parts.items()},
            [describe(callback) for callback in self.callbacks if callback.changes_fit],
            content,
        )

    def _sink(self, fingerprint: str) -> FitLog:
        """Return what the training path tells; where an earlier process was interrupted, callbacks are as they were."""
        state = self._states.newest(fingerprint) if self.resumed is not None and self._log.started else None
        self._tell_where_it_goes_on(state.place if state else "at the beginning of its training")
        if state is not None:
            self._log.tag("fit.resumed", f"epoch {state.epoch + 1}, batch {state.batch + 1}")
            for name, callback in self._log.callbacks_by_name():
                if name in state.callbacks:
                    callback.load_state_dict(state.callbacks[name])
            for epoch, metrics in enumerate(state.history, start=1):
                self._record(metrics, step=epoch)
            self._state.logged |= state.logged
            self._state.results |= state.logged
        return FitLog(self._log, self._state, fingerprint, state)

    def _tell_where_it_goes_on(self, where: str) -> None:
        if self.resumed is not None and self._log.started:
            run = self.config.get("run_id") or self.resumed or self.output_dir
            print(f"snnpipe: going on with run {run} {where}", flush=True)

    @contextmanager
    def _shared_fit(self, fingerprint: str) -> Iterator[EarlierFit | None]:
        """Yield an earlier run's training that is this one's too, if it may be taken and a logger finds one."""
        reuse = self.training.reuse and self._log.started and getattr(self.training, "epochs", None) != 0
        if reuse and (why := self.content.why_not_shared()):
            warnings.warn(f"the training is not shared with other runs: {why}", stacklevel=2)
            reuse = False
        if not reuse:
            yield None
            return
        with ExitStack() as open_until_logged:
            for logger in self._log.started:
                if earlier := open_until_logged.enter_context(logger.shared_fit(fingerprint)):
                    break
            else:
                earlier = None
            yield earlier

    def _check_simulator(self, network: SpikingNetwork) -> None:
        """Raise `SimulationError` where the untrained network shows that simulating will not work."""
        self.simulator.open(network, self.encoder.constant)
        drawn = [layer.name for layer in network.layers if layer.random]
        if self.simulator.verify_images and drawn:
            raise SimulationError(
                f"simulator.verify_images: got {self.simulator.verify_images}, but the neurons of layer {drawn[0]!r} "
                "draw their spikes, which no two simulators do alike: take 0, or neurons without randomness"
            )

    def _verify(self, images: TestPass, opened: OpenSimulator) -> None:
        """Hold the first images' spikes, as many as are wanted, against the reference simulator's.

        Raises
        ------
        VerificationError
            If more of them are moved than rounding can explain.
        """
        if not self.simulator.verify_images:
            return
        self._begin("verify", min(self.simulator.verify_images, self.data.spec.n_test))
        verification = images.verify(opened)
        self._record(verification.metrics())
        if problem := verification.problem(TOLERANCE[self.simulator.precision]):
            assert self.model is not None and self.network is not None
            (_, few, _), *_ = images.batches(FEW, FEW)
            wrong = difference(self.network, self.model, few, self.simulator.reference())
            cure = (
                f"It is the reference that is wrong: {wrong}: take simulator.verify_images=0"
                if wrong
                else "Take simulator=nengo_dl for figures to rely on; simulator.precision=float64 tells rounding from "
                "a mistake in the simulator"
            )
            raise VerificationError(f"simulator.verify_images={verification.images}: {problem}. {cure}")

    def _explain(self, images: TestPass, outcome: Outcome) -> None:
        """Keep what the simulation came to, what it lost, and what there is to say of its spikes."""
        from snnpipe.diagnosis.remarks import remarks

        state = self._state
        assert self.model is not None
        state.outcome = outcome
        state.diagnosis = self._diagnose(images, outcome) if self.diagnosed_images else None
        plan = state.plan or ConversionPlan(())
        state.remarks = remarks(plan, images, self.model, self._parts, outcome, state.diagnosis)

    def _diagnose(self, images: TestPass, outcome: Outcome) -> Diagnosis:
        """Trace what the conversion lost to layers."""
        from snnpipe.diagnosis.diagnose import diagnose

        assert self.model is not None
        self._log.stage("diagnose")
        self._begin("diagnose", min(self.diagnosed_images, self.data.spec.n_test))
        found = diagnose(images, self.model, self._parts, self.diagnosed_images, outcome.busiest_per_step)
        self._record(found.metrics())
        if self._log.started:
            with self._log.going_on():
                for path in write_diagnosis(self.output_dir / "diagnosis", found):
                    self._log.artifact(path, "diagnosis")
        return found

    def _save_checkpoint(self) -> None:
        """Save the trained weights, if they are still to be saved."""
        if self._unsaved is not None:
            for path in sorted(self._unsaved.save(self.output_dir / "checkpoint").iterdir()):
                self._log.artifact(path, "checkpoint")
            self._unsaved = None

    def _write_answers(
        self, accuracy: NDArray[np.float64], agreement: NDArray[np.float64], evaluation: Evaluation
    ) -> None:
        from snnpipe.artifacts.plots import accuracy_over_time

        self._log.artifact(Predictions(*evaluation.classes).write(self.output_dir / "tables"), "tables")
        dt = self.simulator.dt
        rows = [
            (t + 1, round((t + 1) * dt * 1000, 9), a, b)
            for t, (a, b) in enumerate(zip(accuracy.tolist(), agreement.tolist(), strict=True))
        ]
        header = ("step", "time_ms", "accuracy", "agreement")
        self._log.artifact(write_csv(self.output_dir / "tables" / "accuracy_over_time.csv", header, rows), "tables")
        path = self.output_dir / "plots" / "accuracy_over_time.png"
        accuracy_over_time(
            path,
            accuracy=accuracy.tolist(),
            agreement=agreement.tolist(),
            ann_accuracy=evaluation.ann_accuracy,
            images=evaluation.images,
            dt=dt,
        )
        self._log.artifact(path, "plots")

    # ------------------------------------------------------------------ logging

    def __enter__(self) -> Self:
        """Check what can be checked, then open the loggers: a run that cannot work leaves nothing behind."""
        self.prepare()
        content = self.content
        make_folder(self.output_dir, "paths.output_dir")
        self._held.enter_context(locked(self.output_dir))
        try:
            require_own_folder(self.output_dir, self.config, content, self.resumed)
        except BaseException:
            self._held.close()
            raise
        if self.resumed is None:
            self._states.clear()
            content.write(self.output_dir)
        pictures = (self.output_dir / "plots").glob("*.png")
        for path in [*pictures, *leftovers(self.output_dir)]:  # of an earlier process in the same folder
            path.unlink()
        tags = filter_tags(self.config, self.dataset_name) | content.tags | self.tags
        tags |= {"snnpipe.version": __version__, "stage_reached": "prepare"} | tags_of(self._state.specs)
        if commit := git_commit():
            tags["git.commit"] = self._state.commit = commit
        try:
            self._log.start(self.name, flatten(self.config), tags, self.parent, self.resumed)
            self.was_logged = True
            self._state.run_id = self._log.address.get("run id", "")
            self._log_setup()
        except BaseException as error:
            self._finalize(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finalize(error)
        if isinstance(error, Exception):
            signals.check()

    def _record(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._state.results.update(metrics)
        self._log.metrics(metrics, step)

    def _log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """Record a callback's metric."""
        own = {name: require_own(name, value, step, self._state.specs)}
        if self._log.reached in ("fit", "convert"):
            self._state.logged |= own
        self._record(own, step)

    def _log_setup(self) -> None:
        state = self._state
        assert state.spec is not None and state.plan is not None
        dataset = self._recorded(state.spec)
        for logger in self._log.started:
            logger.log_dataset(dataset)
        self._log.artifact(write_json(self.output_dir / "environment.json", describe_environment()), "")
        self._log.artifact(write_text(self.output_dir / "config.yaml", to_yaml(self.config)), "")
        for path in write_plan(self.output_dir / "conversion", state.plan):
            self._log.artifact(path, "conversion")

    def _recorded(self, spec: DataSpec) -> DataSpec:
        """Return a spec as it is recorded: with a name, a source, and the digest of what the data holds."""
        source = spec.source or qualified_name(type(self._parts["data"]))
        kind = spec.source_type or (urlsplit(spec.source).scheme or "local" if spec.source else "code")
        digest = self.content.of_the_data
        return replace(spec, name=self.dataset_name, source=source, source_type=kind, digest=digest)

    def _finalize(self, error: BaseException | None) -> None:
        """End the run in every logger, whatever happens to the others."""
        status: Status = "FINISHED"
        if error is not None:
            stopped = signals.pending() or isinstance(error, (KeyboardInterrupt, SystemExit))
            status = "KILLED" if stopped else "FAILED"
            self._tell_exception(error)
        failures = self._log.end(status, error)
        if error is None and not failures:
            self._states.clear()
        self._held.close()
        if failures and error is None:
            raise failures[0]

    def _tell_exception(self, error: BaseException) -> None:
        failures: list[Exception] = []
        for callback in self.callbacks:
            attempt(failures, callback.on_exception, self._state, error)
        if isinstance(error, Exception) and not isinstance(error, UserError) and self._log.started:
            text = masked_traceback(error)
            attempt(failures, lambda: self._log.artifact(write_text(self.output_dir / "traceback.txt", text), ""))
        for failure in failures:  # the first error is the one to report
            error.add_note(f"and while the run was being ended: {type(failure).__name__}: {one_line(failure)}")
