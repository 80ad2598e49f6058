"""Estimates of the energy of an image's operations on published devices: a range over tables, never one number.

An estimate is a count times a published energy. It leaves out costs that no table has; docs/metrics.md lists them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["arithmetic", "neuromorphic chip", "neuromorphic many-core"]
"""Arithmetic units alone, chips with circuits for neurons and synapses, or processors that simulate these."""

PJ = 1e-12


@dataclass(frozen=True)
class Device:
    """Published energies of one device.

    Attributes
    ----------
    name, kind
        Name and kind of the device.
    synop_pj
        Energy of one synaptic operation, pJ.
    update_pj
        Lowest and highest energy of one neuron update, pJ; 0 if it is part of ``synop_pj``, None if none is published.
    mac_pj
        Energy of one multiply-accumulate, pJ; None if none is published, as for chips that do not run ANNs.
    basis
        How the energies were determined, and what they include.
    source
        Publication of the energies.
    """

    name: str
    kind: Kind
    synop_pj: float
    update_pj: tuple[float, float] | None
    mac_pj: float | None
    basis: str
    source: str

    @property
    def left_out(self) -> tuple[str, ...]:
        """Operations of the spiking network that this device has no published energy for."""
        terms = (("neuron updates", self.update_pj), ("first layer", self.mac_pj))
        return tuple(name for name, figure in terms if figure is None)


def _arithmetic(name: str, multiply_pj: float, add_pj: float, source: str) -> Device:
    """Return arithmetic units as a device: a synaptic operation is one addition, a neuron update at least one."""
    basis = "estimated; arithmetic alone: a SynOp is an addition, a neuron update at least one"
    return Device(name, "arithmetic", add_pj, (add_pj, add_pj), multiply_pj + add_pj, basis, source)


_HOROWITZ = (
    "M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014, Fig. 1.1.9, "
    "doi:10.1109/ISSCC.2014.6757323"
)
_JOUPPI = (
    "N. P. Jouppi et al., Ten lessons from three generations shaped Google's TPUv4i, ISCA 2021, Table 2, "
    "doi:10.1109/ISCA52012.2021.00010"
)
_HOEPPNER = (
    "S. Hoeppner et al., Dynamic power management for neuromorphic many-core systems, IEEE TCAS-I 66(8), 2019, "
    "arXiv:1903.08941, as in the table of KerasSpiking (keras_spiking/model_energy.py)"
)

DEVICES = (
    _arithmetic("45 nm, float32", 3.7, 0.9, _HOROWITZ),
    _arithmetic("45 nm, float16", 1.1, 0.4, _HOROWITZ),
    _arithmetic("45 nm, int32", 3.1, 0.1, _HOROWITZ),
    _arithmetic("45 nm, int8 with int32 sums", 0.2, 0.1, _HOROWITZ),
    _arithmetic("7 nm, float32", 1.31, 0.38, _JOUPPI),
    _arithmetic("7 nm, bfloat16 with float32 sums", 0.21, 0.38, _JOUPPI),
    Device(
        "Loihi (14 nm)",
        "neuromorphic chip",
        23.6,
        (52.0, 81.0),
        None,
        "simulated before silicon, 0.75 V; the least energy of a SynOp, an inactive and an active neuron's update",
        "M. Davies et al., Loihi: a neuromorphic manycore processor with on-chip learning, IEEE Micro 38(1), 2018, "
        "Table 2, doi:10.1109/MM.2018.112130359",
    ),
    Device(
        "TrueNorth (28 nm)",
        "neuromorphic chip",
        26.0,
        (0.0, 0.0),
        None,
        "measured, 0.775 V; power of the whole chip over its events at 20 Hz and 128 active synapses a neuron",
        "P. A. Merolla et al., A million spiking-neuron integrated circuit with a scalable communication network and "
        "interface, Science 345(6197), 2014, doi:10.1126/science.1254642",
    ),
    Device(
        "ODIN (28 nm)",
        "neuromorphic chip",
        12.7,
        (0.0, 0.0),
        None,
        "measured, 0.55 V; power of the whole chip over its events at the highest rate of events",
        "C. Frenkel et al., A 0.086-mm2 12.7-pJ/SOP 64k-synapse 256-neuron online-learning digital spiking "
        "neuromorphic processor in 28-nm CMOS, IEEE TBioCAS 13(1), 2019, doi:10.1109/TBCAS.2018.2880425",
    ),
    Device(
        "Darwin3 (22 nm)",
        "neuromorphic chip",
        5.47,
        None,
        None,
        "measured, 0.8 V; the mean of a SynOp alone",
        "D. Ma et al., Darwin3: a large-scale neuromorphic chip with a novel ISA and on-chip learning, National "
        "Science Review 11(5), 2024, doi:10.1093/nsr/nwae102",
    ),
    Device(
        "SpiNNaker (130 nm)",
        "neuromorphic many-core",
        13_300.0,
        (26_000.0, 26_000.0),
        None,
        "second hand: read in a table that cites the source",
        _HOEPPNER,
    ),
    Device(
        "SpiNNaker2 prototype (28 nm)",
        "neuromorphic many-core",
        450.0,
        (2_190.0, 2_190.0),
        None,
        "second hand: read in a table that cites the source",
        _HOEPPNER,
    ),
)


@dataclass(frozen=True)
class OperationCounts:
    """Numbers of operations for one image.

    Attributes
    ----------
    synops, neuron_updates
        Synaptic operations and neuron updates of the spiking network.
    first_layer_macs
        Lowest and highest number of multiply-accumulates from the image to the first neurons. The lowest holds if a
        device keeps the current of a constant image, and the highest if it computes the current again at every step.
    ann_macs, ann_activations
        Multiply-accumulates and activations of one forward pass of the ANN.
    """

    synops: float
    neuron_updates: float
    first_layer_macs: tuple[float, float]
    ann_macs: float
    ann_activations: float

    @classmethod
    def of(cls, metrics: Mapping[str, float]) -> "OperationCounts | None":
        """Return the counts from a run's metrics; None if synapses could not be counted."""
        if not {"snn/synops_per_image", "ann/dense_macs"} <= metrics.keys():
            return None
        return cls(
            synops=metrics["snn/synops_per_image"],
            neuron_updates=metrics["snn/neuron_updates_per_image"],
            first_layer_macs=(metrics["snn/first_layer_macs"], metrics["snn/first_layer_macs_every_step"]),
            ann_macs=metrics["ann/dense_macs"],
            ann_activations=metrics["ann/activations"],
        )


@dataclass(frozen=True)
class EnergyEstimate:
    """Estimated energy of one image on one device.

    Attributes
    ----------
    device
        Device whose published energies are used.
    snn_low_j, snn_high_j
        Lowest and highest energy of the spiking network, J.
    ann_j
        Energy of the ANN, J; None if the device has no published energy of a multiply-accumulate.
    """

    device: Device
    snn_low_j: float
    snn_high_j: float
    ann_j: float | None

    @property
    def ratio(self) -> tuple[float, float] | None:
        """Lowest and highest energy of the spiking network relative to the ANN's on the same device."""
        return (self.snn_low_j / self.ann_j, self.snn_high_j / self.ann_j) if self.ann_j else None


@dataclass(frozen=True)
class EnergyRange:
    """Lowest and highest energy of an image, J, over all devices of a kind; the ANN's is None if no device has one."""

    kind: Kind
    snn_low_j: float
    snn_high_j: float
    ann_low_j: float | None
    ann_high_j: float | None


def energy_estimates(counts: OperationCounts, devices: Sequence[Device] = DEVICES) -> tuple[EnergyEstimate, ...]:
    """Return the estimated energy of an image on each device: SynOps, neuron updates and the first layer.

    A term without a published energy is left out (`Device.left_out`), which makes the estimate too low.
    """
    return tuple(_estimate(counts, device) for device in devices)


def _estimate(counts: OperationCounts, device: Device) -> EnergyEstimate:
    update, mac = device.update_pj or (0.0, 0.0), device.mac_pj
    low, high = (
        counts.synops * device.synop_pj + counts.neuron_updates * update[i] + counts.first_layer_macs[i] * (mac or 0.0)
        for i in (0, 1)
    )
    ann = None if mac is None else PJ * (counts.ann_macs * mac + counts.ann_activations * update[0])
    return EnergyEstimate(device, PJ * low, PJ * high, ann)


def energy_range(estimates: Sequence[EnergyEstimate], kind: Kind) -> EnergyRange:
    """Return the range of the estimates over the devices of a kind."""
    of_kind = [estimate for estimate in estimates if estimate.device.kind == kind]
    ann = [estimate.ann_j for estimate in of_kind if estimate.ann_j is not None]
    return EnergyRange(
        kind,
        min(estimate.snn_low_j for estimate in of_kind),
        max(estimate.snn_high_j for estimate in of_kind),
        min(ann, default=None),
        max(ann, default=None),
    )


def energy_texts(metrics: Mapping[str, float]) -> dict[str, str]:
    """Return a run's ranges as text, empty if it has none: ``snn`` and ``ann`` on arithmetic units, and ``chip``."""
    if "energy/snn_nj_low" not in metrics:
        return {}
    most = metrics["energy/chip_nj_high"]
    unit, nj = ("nJ", 1.0) if most < 1e3 else ("µJ", 1e3) if most < 1e6 else ("mJ", 1e6)
    return {
        what: " to ".join(_rounded(metrics[f"energy/{what}_nj_{end}"] / nj) for end in ("low", "high")) + f" {unit}"
        for what in ("snn", "ann", "chip")
    }


def _rounded(value: float) -> str:
    """Return a number with two significant digits, or without decimals from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def energy_metrics(counts: OperationCounts) -> dict[str, float]:
    """Return the ranges of energy that a run logs, nJ."""
    estimates = energy_estimates(counts)
    arithmetic, chips = energy_range(estimates, "arithmetic"), energy_range(estimates, "neuromorphic chip")
    ranges = {
        "snn_nj_low": arithmetic.snn_low_j,
        "snn_nj_high": arithmetic.snn_high_j,
        "ann_nj_low": arithmetic.ann_low_j,
        "ann_nj_high": arithmetic.ann_high_j,
        "chip_nj_low": chips.snn_low_j,
        "chip_nj_high": chips.snn_high_j,
    }
    return {f"energy/{name}": joules * 1e9 for name, joules in ranges.items() if joules is not None}
