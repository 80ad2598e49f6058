"""The simulation of a run's test images, with its verification, measurements and explanation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np

from snnpipe.base.errors import VerificationError
from snnpipe.conversion.fidelity import FEW, difference
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.metrics.catalogue import built_in
from snnpipe.metrics.evaluation import Evaluation
from snnpipe.metrics.measurements import Measurements, prepared
from snnpipe.metrics.memory import peak_memory_mb
from snnpipe.metrics.passes import AnnPass, SpikingPass, Split
from snnpipe.metrics.verification import TOLERANCE
from snnpipe.protocols import OpenSimulator, Simulator
from snnpipe.run.log import RunLog
from snnpipe.values.diagnosis import Diagnosis, Remark
from snnpipe.values.network import ConversionPlan
from snnpipe.values.outcome import Outcome
from snnpipe.values.result import RunResult
from snnpipe.values.run import RunState

if TYPE_CHECKING:
    import tf_keras

_PREPARED = 1000
"""Largest number of images that metrics are prepared with."""


@dataclass(frozen=True, eq=False)
class Simulated:
    """Results of the simulation of the test images.

    Attributes
    ----------
    evaluation
        Counts over all images.
    at_duration
        All metrics so far after each shorter duration, by its number of steps.
    used
        Name of the simulator that was used, with the reason if there was a choice.
    """

    evaluation: Evaluation
    at_duration: Mapping[int, Mapping[str, float]]
    used: str

    @property
    def curves(self) -> dict[str, list[float]]:
        """Accuracy and agreement after each step."""
        evaluation = self.evaluation
        curves = {"accuracy": evaluation.accuracy_at_step, "agreement": evaluation.agreement_at_step}
        return {name: values.tolist() for name, values in curves.items()}

    def result(self, state: RunState, address: Mapping[str, str]) -> RunResult:
        """Return the result of the run in its present state."""
        curves = self.curves
        return RunResult(
            dict(state.results),
            curves["accuracy"],
            curves["agreement"],
            self.at_duration,
            self.used,
            state.trained_by,
            address,
            state.diagnosis,
            state.remarks,
            self.evaluation.network.no_synops,
            state.specs,
            state.input_over_time,
            state.sample_word,
        )


@dataclass(frozen=True, eq=False)
class Simulation:
    """The test images that a run simulates, and the model that they are compared with.

    Parameters
    ----------
    log
        Log of the run.
    model
        The trained ANN.
    images
        The test images, with their network, simulator and encoder.
    parts
        The run's parts, by their config groups.
    """

    log: RunLog
    model: "tf_keras.Model | NativeNetwork"
    images: SpikingPass
    parts: Mapping[str, Any]

    def evaluate(self, ann: AnnPass, durations: Sequence[int]) -> Simulated:
        """Simulate all images, and record the metrics.

        Parameters
        ----------
        ann
            Results of the ANN on the test images.
        durations
            Durations in steps, in ascending order. One simulation of the longest duration gives the results for all.

        Raises
        ------
        VerificationError
            If the spikes differ from those of the reference simulator by more than rounding.
        """
        images, network = self.images, self.images.network
        simulator, encoder = images.simulator, images.encoder
        evaluation = self._evaluation(durations)
        measurements = Measurements(self.parts.get("metrics", ()), network, simulator, durations)
        wanted = [callback.sample_images for callback in self.log.callbacks]
        sampled = max(measurements.sample_images(images.n_images), *wanted, 0)
        seconds = 0.0
        self.log.tell("on_simulation_start", images.n_images)
        opening = simulator.with_settings(chunk_steps=1) if measurements.every_step else simulator
        with opening.open(network, encoder.constant) as opened:
            self._verify(opened)
            self._prepare(opened, durations, measurements)
            before = self._before()
            self.log.begin("simulate", images.n_images)
            for batch, took in images.simulate(opened, ann.classes, evaluation, sampled, measurements):
                seconds += took
                self.log.tell("on_simulation_batch_end", batch)
            used = opened.used
        speed = {
            "simulate/images_per_s": evaluation.images / max(seconds, 1e-9),
            "simulate/peak_memory_mb": peak_memory_mb(),
        }
        self.log.record(evaluation.metrics() | speed)
        self.log.record(measurements.values())
        self.log.tag("simulator.used", used)
        shorter = {n: before | evaluation.metrics(n) | measurements.values(n) for n in durations[:-1]}
        simulated = Simulated(evaluation, shorter, used)
        self.log.curves(simulated.curves, durations[-1], simulator.dt)
        return simulated

    def explain(self, outcome: Outcome, wanted: int) -> None:
        """Trace the accuracy that conversion lost to layers, on the first ``wanted`` images, and remark on the spikes.

        The results are in the run's state: ``outcome``, ``diagnosis`` (None if no images are wanted) and ``remarks``.
        """
        from snnpipe.diagnosis.remarks import remarks

        state = self.log.state
        state.outcome = outcome
        self.log.tell("on_simulation_end")
        state.diagnosis = self._diagnose(outcome, wanted) if wanted else None
        plan = state.plan or ConversionPlan(())
        of_calibration = state.calibration.remarks() if state.calibration is not None else ()
        of_spikes = remarks(
            plan, self.images, self.model, self.parts, outcome, state.diagnosis, from_data=state.calibration is not None
        )
        state.remarks = (*of_calibration, *self._of_metrics(), *of_spikes)

    def _evaluation(self, durations: Sequence[int]) -> Evaluation:
        simulator, n_classes = self.images.simulator, self.images.data.spec.n_classes
        constant = self.images.encoder.constant
        return Evaluation(
            self.images.network,
            durations,
            simulator.dt,
            simulator.readout,
            simulator.readout_steps,
            n_classes,
            constant,
        )

    def _prepare(self, opened: OpenSimulator, durations: Sequence[int], measurements: Measurements) -> None:
        """Show validation images to the metrics that are prepared with them; training images if there are none."""
        if not prepared(self.parts.get("metrics", ())):
            return
        spec = self.images.data.spec
        simulator = self.images.simulator.with_settings(max_images=_PREPARED)
        split: Split = "validation" if spec.n_validation else "training"
        images = replace(self.images, simulator=simulator, seen=None, split=split)
        n = images.n_images
        self.log.begin("prepare", n)
        batches = images.batches(images.at_once, n)
        classes = np.concatenate([np.argmax(self.model.predict_on_batch(shown), axis=-1) for _, shown, _ in batches])
        for batch, _ in images.simulate(opened, classes, self._evaluation(durations), 0):
            measurements.prepare(batch)

    def _of_metrics(self) -> tuple[Remark, ...]:
        """Return a remark on metrics that were prepared with training images for want of others; else nothing."""
        names, spec = prepared(self.parts.get("metrics", ())), self.images.data.spec
        if not names or spec.n_validation:
            return ()
        n = min(_PREPARED, spec.n_train)
        text = f"prepared on {n:,} training {spec.sample_word}s, for want of validation {spec.sample_word}s, which "
        text += "data.validation_share sets apart"
        return (Remark("metrics", f"{', '.join(names)}: {text}"),)

    def _before(self) -> dict[str, float]:
        """Return the metrics that hold for every duration: snnpipe's own so far, and those of callbacks."""
        state = self.log.state
        kept = state.callback_metrics
        return {name: value for name, value in state.results.items() if built_in(name) or name in kept}

    def _diagnose(self, outcome: Outcome, wanted: int) -> Diagnosis:
        from snnpipe.diagnosis.diagnose import diagnose

        calibration = self.log.state.calibration
        self.log.stage("diagnose")
        self.log.begin("diagnose", min(wanted, self.images.data.spec.n_test))
        diagnosis = diagnose(self.images, self.model, self.parts, wanted, outcome.busiest_per_step, calibration)
        self.log.record(diagnosis.metrics())
        return diagnosis

    def _verify(self, opened: OpenSimulator) -> None:
        """Compare the spikes of the first images with those of the reference simulator, if the settings ask for it."""
        simulator = self.images.simulator
        if not simulator.verify_images:
            return
        self.log.begin("verify", min(simulator.verify_images, self.images.data.spec.n_test))
        verification = self.images.verify(opened)
        self.log.record(verification.metrics())
        if problem := verification.problem(TOLERANCE[simulator.precision]):
            (_, few, _), *_ = self.images.batches(FEW, FEW)
            wrong = difference(self.images.network, self.model, few, simulator.reference())
            cure = (
                f"It is the reference that is wrong: {wrong}: take simulator.verify_images=0"
                if wrong
                else "Take simulator=nengo_dl for figures to rely on; simulator.precision=float64 tells rounding from "
                "a mistake in the simulator"
            )
            raise VerificationError(f"simulator.verify_images={verification.images}: {problem}. {cure}")


def ending_at(simulator: Simulator, durations: Sequence[int]) -> Simulator:
    """Return a simulator whose chunks of steps end at each of several durations."""
    if len(durations) < 2:
        return simulator
    return simulator.with_settings(chunk_steps=gcd(*durations, getattr(simulator, "chunk_steps", None) or 0))
