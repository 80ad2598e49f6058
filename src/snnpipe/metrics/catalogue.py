"""The metrics that snnpipe logs: the label, unit and format of each, and whether higher or lower is better.

`docs/metrics.md` defines the metrics. Every table, page and picture takes a metric's label, unit and format from here.
"""

from collections.abc import Mapping

from snnpipe.values.metric import Better, MetricSpec, spec_of


def _share(name: str, label: str, better: Better = "", note: str = "", short: str = "") -> MetricSpec:
    """Return the description of a share, which is shown in percent."""
    return MetricSpec(name, label, "%", factor=100, form=".2f", better=better, note=note, short=short)


ANN_ACCURACY = _share("ann/test_accuracy", "ANN accuracy", "higher", "on all test samples", short="ANN")
SNN_ACCURACY = _share("snn/test_accuracy", "SNN accuracy", "higher", short="SNN")
CI_LOW = _share("snn/accuracy_ci_low", "SNN accuracy, 95 % from", "higher")
CI_HIGH = _share("snn/accuracy_ci_high", "SNN accuracy, 95 % to", "higher")
DROP = MetricSpec(
    "snn/accuracy_drop",
    "accuracy drop",
    "points",
    factor=100,
    form="+.2f",
    better="lower",
    note="accuracy of the ANN minus that of the SNN, on the samples that were simulated",
    short="drop",
)
AGREEMENT = _share("snn/agreement", "agreement", "higher", "samples that get the class that the ANN gives")
LATENCY = MetricSpec(
    "snn/latency_ms_to_1pt",
    "latency to 1 point below the ANN",
    "ms",
    form="g",
    better="lower",
    note="until accuracy stays within 1 point of the ANN's",
    short="latency",
    mean_form=".0f",
)
TEST_IMAGES = MetricSpec("snn/test_images", "simulated test samples", form=",.0f")
MEAN_RATE = MetricSpec("snn/mean_rate_hz", "mean firing rate", "Hz", form=".3g", short="rate")
MAX_RATE = MetricSpec("snn/max_rate_hz", "rate of the busiest neuron", "Hz", form=",.0f")
SPIKES = MetricSpec("snn/spikes_per_image", "spikes per sample", form=",.0f", better="lower", short="spikes")
SYNOPS = MetricSpec("snn/synops_per_image", "SynOps per sample", form=",.0f", better="lower", short="SynOps")
SYNOPS_PER_MAC = MetricSpec(
    "snn/synops_per_dense_mac", "SynOps per multiply-accumulate", form=".3g", better="lower", note="of the ANN"
)
DENSE_MACS = MetricSpec("ann/dense_macs", "ANN's multiply-accumulates", form=",.0f", better="lower")
IMAGES_PER_S = MetricSpec("simulate/images_per_s", "simulated", "samples/s", form=",.1f", better="higher")
PEAK_MEMORY = MetricSpec("simulate/peak_memory_mb", "peak memory", "MiB", form=",.0f", better="lower")
MOVED_SPIKES = MetricSpec("verify/moved_spike_share", "spikes moved", form=".2g", better="lower")
OUTPUT_DIFFERENCE = MetricSpec("verify/output_difference", "difference of the outputs", form=".2g", better="lower")
SAME_CLASS = _share("verify/same_class", "same class as the reference", "higher")
VERIFIED = MetricSpec("verify/images", "verified samples", form=",.0f")

ENERGY_PER_SAMPLE = "energy per sample"
"""Common label of the ranges of energy."""


def in_words(text: str, word: str) -> str:
    """Return a label or a value of the catalogue with the data's own word for a sample."""
    return text.replace("sample", word)


def _energy(network: str, of: str, where: str) -> tuple[MetricSpec, ...]:
    """Return the descriptions of the two ends of a range of energy."""
    return tuple(
        MetricSpec(f"energy/{network}_nj_{end}", f"{which} energy of the {of}", "nJ", 1, ".3g", "lower", where)
        for end, which in (("low", "least"), ("high", "most"))
    )


CATALOGUE = (
    ANN_ACCURACY,
    MetricSpec("ann/test_loss", "ANN's cross-entropy", "nats", better="lower"),
    SNN_ACCURACY,
    CI_LOW,
    CI_HIGH,
    DROP,
    AGREEMENT,
    LATENCY,
    TEST_IMAGES,
    MEAN_RATE,
    MAX_RATE,
    SPIKES,
    SYNOPS,
    SYNOPS_PER_MAC,
    DENSE_MACS,
    MetricSpec("ann/activations", "ANN's activations", form=",.0f", better="lower"),
    MetricSpec("snn/neuron_updates_per_image", "neuron updates per sample", form=",.0f", better="lower"),
    MetricSpec("snn/first_layer_macs", "first layer's multiply-accumulates", form=",.0f", better="lower"),
    MetricSpec("snn/first_layer_macs_every_step", "first layer's, at every step", form=",.0f", better="lower"),
    *_energy("snn", "SNN", "in arithmetic units"),
    *_energy("ann", "ANN", "in arithmetic units"),
    *_energy("chip", "SNN", "on neuromorphic chips"),
    _share("snn/accuracy_at_step", "SNN accuracy after a step", "higher"),
    _share("snn/accuracy_at_ms", "SNN accuracy after a time", "higher"),
    _share("accuracy/at_step", "SNN accuracy after a step", "higher"),
    _share("snn/agreement_at_step", "agreement after a step", "higher"),
    _share("snn/agreement_at_ms", "agreement after a time", "higher"),
    MetricSpec("rate_hz/*", "mean firing rate of the layer", "Hz", form=".3g"),
    _share("silent_fraction/*", "silent neurons of the layer"),
    MetricSpec("spikes_per_image/*", "spikes per sample of the layer", form=",.0f", better="lower"),
    IMAGES_PER_S,
    PEAK_MEMORY,
    VERIFIED,
    MOVED_SPIKES,
    OUTPUT_DIFFERENCE,
    SAME_CLASS,
    MetricSpec("fit/loss", "training loss", better="lower"),
    _share("fit/accuracy", "training accuracy", "higher"),
    MetricSpec("fit/val_loss", "validation loss", better="lower"),
    _share("fit/val_accuracy", "validation accuracy", "higher"),
    MetricSpec("fit/images_per_s", "trained", "samples/s", form=",.1f", better="higher"),
    MetricSpec("diagnosis/images", "diagnosed samples", form=",.0f"),
    MetricSpec("diagnosis/seconds", "diagnosis took", "s", form=",.1f", better="lower"),
    MetricSpec("diagnosis/settings_tried", "settings tried", form=",.0f"),
    MetricSpec("diagnosis/error/*", "relative error of the layer", form=".3f", better="lower"),
    MetricSpec("diagnosis/points_lost/*", "points lost in the layer", "points", form="+.1f", better="lower"),
    MetricSpec("sweep/jobs", "jobs", form=",.0f"),
    MetricSpec("sweep/failed", "jobs that failed", form=",.0f", better="lower"),
    MetricSpec("best/*", "of the most accurate job"),
)


def cell(spec: MetricSpec, metrics: Mapping[str, float]) -> str:
    """Return a run's value for a table of runs: with its unit, except for points, whose sign is enough."""
    number = spec.unit == DROP.unit and spec.name in metrics
    return spec.number(metrics[spec.name]) if number else spec.of(metrics)


def built_in(name: str) -> MetricSpec | None:
    """Return the description of one of snnpipe's own metrics; None for any other metric."""
    return spec_of(name, CATALOGUE)
