"""The main line of a run: fit, convert, evaluate. It depends on the protocols of plugins, and on no plugin by name."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from snnpipe.base import signals
from snnpipe.base.errors import UserError
from snnpipe.base.files import new_folder
from snnpipe.base.masking import masked
from snnpipe.bundle.converted import MOST_REFERENCES
from snnpipe.conversion.fidelity import FEW, require_same_rates
from snnpipe.data.checked_data import CheckedData
from snnpipe.data.explained import explained
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.metrics.measurements import require_metrics
from snnpipe.metrics.passes import AnnPass, SpikingPass
from snnpipe.protocols import (
    Architecture,
    Callback,
    Converter,
    DataModule,
    Encoder,
    Logger,
    Metric,
    Simulator,
    TrainingPath,
    require_lists,
    require_parts,
)
from snnpipe.run.calibration import calibrated
from snnpipe.run.content import Content, content_of, recorded_spec
from snnpipe.run.fits import Fit
from snnpipe.run.folder import held
from snnpipe.run.log import RunLog
from snnpipe.run.preflight import preflight
from snnpipe.run.simulation import Simulated, Simulation, ending_at
from snnpipe.run.summary import description
from snnpipe.settings.describe import describe
from snnpipe.settings.naming import filter_tags, run_name
from snnpipe.values.checkpoint import Checkpoint
from snnpipe.values.network import SpikingNetwork
from snnpipe.values.result import RunResult
from snnpipe.values.run import RunState
from snnpipe.values.simulation import input_over_time
from snnpipe.values.training_state import TrainingStates

if TYPE_CHECKING:
    import tf_keras


class Trainer:
    """Runs the main line.

    ``run`` calls ``fit``, ``convert`` and ``evaluate`` in order, and logs them. Each of the three can also be called by
    itself. It is then logged only inside ``with trainer:``.

    Parameters
    ----------
    data, architecture, training, converter, simulator, encoder
        The parts, one of each family of plugins.
    callbacks, loggers, metrics
        Any number of callbacks, loggers and metrics.
    diagnosed_images
        Number of test images on which the diagnosis traces the lost accuracy to layers; 0 for no diagnosis.
    seed
        Seed of the initial weights, the order of images, the initial voltages and an encoder's draws.
    output_dir
        Folder of the run's files, created if it is missing. None creates a new one under ``mlruns/outputs``. A folder
        with the results of a run with other settings or other data is refused.
    name
        Name of the run. None derives one from the parts.
    config
        Configuration that the parts were built from. It is logged without passwords. None describes the parts instead.
    tags
        Further tags of the run.
    parent
        Id of the run that this run belongs to, such as a multi-run.
    command
        Command that repeats the run, shown in its report; empty if the run was not started from a command line.
    resumed
        Id of an earlier run in ``output_dir`` that stopped and is resumed; any text if no logger has ids.
    durations
        Further numbers of steps, below the simulator's, to measure at. One simulation gives the results for all.

    Attributes
    ----------
    log, state
        The log of the run, and the state that callbacks see.
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
        self.converter, self.simulator, self.encoder, self.seed = converter, simulator, encoder, seed
        self.diagnosed_images, self.tags, self.parent = diagnosed_images, dict(tags or {}), parent
        self.output_dir, self.resumed = new_folder() if output_dir is None else Path(output_dir), resumed
        self._parts = {
            "data": self.data.module,
            "model": architecture,
            "training": training,
            "conversion": converter,
            "simulator": simulator,
            "encoder": encoder,
            **({"metrics": tuple(metrics)} if metrics else {}),
        }
        self.config: dict[str, Any] = masked(config if config is not None else {"seed": seed} | describe(self._parts))
        self._named, self.name = name is not None, name or run_name(self.config)
        self.durations = sorted({*durations, simulator.n_steps})
        self.model: tf_keras.Model | NativeNetwork | None = None
        self.network: SpikingNetwork | None = None
        self._chosen: dict[str, Any] = {}
        self._ann: AnnPass | None = None
        self._content: Content | None = None
        self.log = RunLog(tuple(callbacks), tuple(loggers))
        self.state = self.log.state = RunState(
            seed,
            str(self.output_dir),
            self.log.artifact,
            log_metric=self.log.log_metric,
            pictures=self.log.pictures,
            specs=require_metrics(metrics),
            config=self.config,
            settings=simulator,  # type: ignore[arg-type]  # a simulator has the settings' attributes
            run_name=self.name,
            command=command,
            input_over_time=input_over_time(encoder),
            encoder=encoder,
            one_of_several="sweep.job" in self.tags,
        )
        resumes = None if resumed is None else str(self.config.get("run_id") or resumed or self.output_dir)
        self._fit = Fit(self.log, training, self.data, self.output_dir, resumes)
        self._held = ExitStack()

    def run(self) -> RunResult:
        """Fit, convert and evaluate with logging; return the metrics, the curves and the addresses of the results."""
        with self:
            self.fit()
            self.convert()
            return self.evaluate()

    def prepare(self) -> "tf_keras.Model | NativeNetwork":
        """Make the data available, build the model and the conversion plan, and check that every stage can work.

        Returns
        -------
        tf_keras.Model or NativeNetwork
            The untrained model.

        Raises
        ------
        UserError
            If something cannot work as configured. Nothing has been trained then.
        """
        with explained(self.data):
            self.data.prepare_data()
            self.data.setup()
            self.data.look()
            self.state.spec, self._content = self.data.spec, None
            self.state.pixels = getattr(self.data, "pixels", None)
            if not self._named:
                self.name = self.state.run_name = run_name(self.config, self.dataset_name)
            self.model, self.state.plan = preflight(self._parts, self.data.spec, self.data.few, self.seed)
            self.state.model = self.model
            self.log.tell("on_prepare_end")
            return self.model

    def fit(self) -> Checkpoint:
        """Train the model, test it, and return its weights.

        Returns
        -------
        Checkpoint
            Trained weights. Inside ``with``, they are also written to ``checkpoint/``.
        """
        with explained(self.data):
            model = self.model or self.prepare()
            self.log.stage("fit")
            checkpoint = self._fit.run(model, lambda: self.content)
            self._ann = None
            self._test_ann(model)
            return checkpoint

    def convert(self) -> SpikingNetwork:
        """Convert the trained model to a spiking network.

        Returns
        -------
        SpikingNetwork
            Network that a simulator runs.
        """
        if self.model is None:
            raise UserError("Trainer.convert: there is no model yet: call fit() first")
        self.log.stage("convert")
        self.log.begin("convert")
        self._chosen = calibrated(self._parts | {"data": self.data}, self.model, self.seed, self.log)
        self.simulator = self._chosen["simulator"]
        self.network = self.state.network = self._chosen["conversion"].convert(self.model, self.seed)
        if self.state.spec is not None:
            samples = self.state.samples = self._test_pass(self.network).first(MOST_REFERENCES)
            require_same_rates(self.network, self.model, samples[:FEW], self.simulator)
        self.log.tell("on_convert_end")
        return self.network

    def evaluate(self) -> RunResult:
        """Simulate the test images, measure the cost of conversion, and return the metrics and curves."""
        if self.model is None or self.network is None:
            raise UserError("Trainer.evaluate: there is no spiking network yet: call convert() first")
        with explained(self.data):
            self.log.stage("evaluate")
            self.state.forget_evaluation()
            ann = self._test_ann(self.model)
            samples = self._test_pass(self.network, ann.images)
            simulation = Simulation(self.log, self.model, samples, self._parts | self._chosen)
            simulated = simulation.evaluate(ann, self.durations)
            simulation.explain(simulated.evaluation.outcome(), self.diagnosed_images)
            self.log.tag("description", description(self._result(simulated)))
            self.log.evaluated()
            self.log.stage("done")
            result = self._result(simulated)
            self._fit.save_for(result)
            return result

    @property
    def dataset_name(self) -> str:
        """The name in the data module's spec or, without one, the name of its class."""
        return str(getattr(self.state.spec, "name", "") or type(self._parts["data"]).__name__)

    @property
    def content(self) -> Content:
        """Digests of the content that the run depends on besides its configuration. They prepare the run if needed."""
        model = self.model or self.prepare()
        if self._content is None:
            self._content = content_of(self._parts | {"data": self.data}, model, self.config, self.log.ending_the_fit)
        return self._content

    def _test_ann(self, model: "tf_keras.Model | NativeNetwork") -> AnnPass:
        if self._ann is None or not self._ann.is_of(model, self.data):
            self._ann = AnnPass.of(model, self.data)
            self.log.record(self._ann.metrics)
        return self._ann

    def _test_pass(self, network: SpikingNetwork, seen: Sequence[bytes] | None = None) -> SpikingPass:
        return SpikingPass(self.data, ending_at(self.simulator, self.durations), self.encoder, self.seed, network, seen)

    def _result(self, simulated: Simulated) -> RunResult:
        address = ({"run": self.name} if self.log.started else {}) | self.log.address | self.state.address
        return simulated.result(self.state, address)

    def __enter__(self) -> Self:
        """Check the run before the loggers are opened, so that a run that cannot work leaves nothing behind."""
        self.prepare()
        self._held.enter_context(held(self.output_dir, self.config, self.content, self.resumed))
        try:
            tags = filter_tags(self.config, self.dataset_name) | self.content.tags | self.tags
            self.log.start(self.name, tags, self.parent, self.resumed)
            self.log.dataset(recorded_spec(self.data.spec, self.dataset_name, type(self._parts["data"]), self.content))
            self.log.require("on_run_start")
        except BaseException as error:
            self._finalize(error)
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._finalize(error)
        if isinstance(error, Exception):
            signals.check()

    def _finalize(self, error: BaseException | None) -> None:
        """End the run in every logger, even if some of them fail."""
        failures = self.log.end(error)
        if error is None and not failures:
            TrainingStates(self.output_dir).clear()
        self._held.close()
        if failures and error is None:
            raise failures[0]
