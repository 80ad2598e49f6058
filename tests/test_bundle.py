"""Networks in files: every kind of layer, neuron and synapse, and files that were altered or are hostile."""

import copy
import json
import os
import pickle
import zipfile
from dataclasses import replace
from hashlib import sha256

import nengo
import numpy as np
import pytest
import tf_keras as keras
from hypothesis import HealthCheck, Phase, given, settings
from networks import Drawn, networks
from scipy.special import softmax
from tf_keras import layers

import snnpipe
from snnpipe import (
    ConstantEncoder,
    IntegrateAndFire,
    NengoDLConverter,
    PoissonEncoder,
    QuantisedReLU,
    SimulationSettings,
)
from snnpipe.base.errors import BundleError
from snnpipe.bundle.archive import Members, read_members, write_members
from snnpipe.bundle.bundle import read_bundle, write_bundle
from snnpipe.bundle.converted import Converted
from snnpipe.bundle.layers import SETTINGS
from snnpipe.bundle.references import references_of
from snnpipe.conversion.native import spiking_network
from snnpipe.frameworks.compat import import_nengo_dl, start_afresh
from snnpipe.neurons.built_in import BUILT_IN
from snnpipe.neurons.plain import neuron_of, plain_neuron
from snnpipe.spiking.ann import NetworkOfRates

RNG = np.random.default_rng(0)


def images():
    """Layers on images: normalisation, sums, concatenations, poolings, paddings, a sigmoid, several rectifiers."""
    x = inputs = layers.Input((9, 9, 2), name="image")
    x = stem = layers.Conv2D(4, 3, padding="same", dilation_rate=2, activation="relu", name="stem")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Add()([layers.Conv2D(4, 3, padding="same")(x), stem])))
    x = layers.Concatenate()([layers.MaxPooling2D(3, 2, "same")(x), layers.AveragePooling2D(3, 2, "same")(stem)])
    x = layers.Cropping2D(((1, 0), (0, 1)))(layers.ZeroPadding2D(((1, 0), (0, 1)))(x))
    x = layers.LeakyReLU(0.1)(layers.Conv2D(4, 2, groups=2, use_bias=False)(layers.UpSampling2D(2)(x)))
    x = layers.BatchNormalization()(layers.Permute((2, 1, 3))(layers.MaxPooling2D(2)(x)))
    x = layers.Activation("relu")(layers.Average()([x, x]))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x), layers.Flatten()(x)])
    x = QuantisedReLU(levels=4)(layers.Dense(8)(x))
    x = layers.Activation("tanh")(layers.Dense(6, activation="sigmoid")(x))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Reshape((6,))(x)))


def of_rank(rank):
    """The layers of series and volumes."""

    def layer(kind):
        return getattr(layers, kind.format(rank))

    x = inputs = layers.Input((*(8, 7, 6)[:rank], 2))
    x = layer("Conv{}D")(3, 2, activation="relu")(x)
    x = layer("Cropping{}D")(1)(layer("UpSampling{}D")(2)(layer("ZeroPadding{}D")(1)(x)))
    x = layers.Concatenate()([layer("MaxPooling{}D")(2)(x), layer("AveragePooling{}D")(2)(x)])
    x = layer("Conv{}D")(4, 2, activation="relu")(x)
    x = layers.Concatenate()([layer("GlobalMaxPooling{}D")()(x), layer("GlobalAveragePooling{}D")()(x)])
    return keras.Model(inputs, layers.Dense(3, activation="relu")(x))


MODELS = {"images": images, "series": lambda: of_rank(1), "volumes": lambda: of_rank(3)}


def converted(model, converter=None, encoder=None, **simulation):
    """A model with drawn weights, converted, and samples for it."""
    rng = np.random.default_rng(1)
    for layer in model.layers:
        drawn = [rng.normal(0.1, 0.4, w.shape) for w in layer.get_weights()]
        if isinstance(layer, layers.BatchNormalization):
            drawn[3] = rng.uniform(0.5, 2, drawn[3].shape)
        layer.set_weights(drawn)
    samples = rng.uniform(-1, 1, (10, *model.input_shape[1:])).astype(np.float32)
    converter = converter or NengoDLConverter(scale_firing_rates=300.0)
    if converter.needs_calibration:
        converter = converter.calibrated(converter.levels(model, samples), 0.001, channels=True)
    network = converter.convert(model, 3)
    return Converted(
        name="drawn",
        network=network,
        settings=SimulationSettings(**{"n_steps": 6, **simulation}),
        encoder=encoder or ConstantEncoder(),
        seed=5,
        input_shape=model.input_shape[1:],
        class_names=tuple(map(str, range(model.output_shape[-1]))),
        plan=converter.explain(model),
    ), samples


def small(**settings):
    start_afresh(0)
    hidden = layers.Dense(6, activation="relu", name="hidden")
    model = keras.Sequential([layers.Input((4,), name="values"), hidden, layers.Dense(3, name="logits")])
    return converted(model, **settings)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A small network in a file."""
    return write_bundle(tmp_path_factory.mktemp("bundle") / "net.snn", *small())


def round_trip(path, network, samples):
    """Write a network and read it, and require the same bits from both."""
    bundle = read_bundle(write_bundle(path, network, samples))
    assert bundle.replay().exact
    for ours, theirs in zip(bundle.converted.network.layers, network.network.layers, strict=True):
        assert (ours.name, ours.shape, ours.synapse.plain) == (theirs.name, theirs.shape, theirs.synapse.plain)
        assert np.array_equal(ours.fan_out_n, theirs.fan_out_n) if theirs.fan_out_n is not None else True
        assert ours.initial_state.keys() == theirs.initial_state.keys()
        assert all(np.array_equal(ours.initial_state[key], values) for key, values in theirs.initial_state.items())
    assert bundle.converted.network.rectifiers == network.network.rectifiers
    assert bundle.converted.plan == network.plan and bundle.converted.settings == network.settings
    return bundle


# ---------------------------------------------------------------------- what a file holds


@pytest.mark.parametrize(
    ("kind", "max_pooling"),
    [
        *(pytest.param("images", max_pooling, marks=pytest.mark.slow) for max_pooling in ("sums", "gated", "average")),
        ("series", "sums"),
        ("volumes", "sums"),
    ],
)
def test_every_kind_of_layer_is_the_same_to_the_bit(kind, max_pooling, tmp_path):
    start_afresh(0)
    model = MODELS[kind]()
    network, samples = converted(model, NengoDLConverter(max_pooling=max_pooling))
    bundle = round_trip(tmp_path / "net.snn", network, samples)
    if kind == "images" and max_pooling != "average":
        logits = NetworkOfRates(bundle.converted.network, 0.001).predict_on_batch(samples)
        assert np.allclose(softmax(logits, axis=1), model.predict(samples, verbose=0), atol=1e-4)


def test_the_models_have_every_kind_of_layer():
    kinds = {
        type(layer).__name__ for make in MODELS.values() for layer in converted(make())[0].network.keras_model.layers
    }
    assert kinds >= set(SETTINGS)


NEURONS = [
    IntegrateAndFire(max_spikes=1, min_voltage=-1.0, initial_voltage=None),
    nengo.LIF(tau_rc=0.03, min_voltage=-0.5),
    nengo.SpikingRectifiedLinear(),
    nengo.RegularSpiking(nengo.LIFRate(tau_ref=0.003)),
    nengo.PoissonSpiking(nengo.RectifiedLinear()),
    nengo.StochasticSpiking(nengo.LIFRate()),
    None,
]
SYNAPSES = [None, 0.01, nengo.Alpha(0.005), nengo.LinearFilter([1], [0.004, 1])]


@pytest.mark.parametrize("neuron", NEURONS, ids=lambda own: type(own).__name__)
def test_every_kind_of_neuron_is_the_same_to_the_bit(neuron, tmp_path):
    synapse = SYNAPSES[NEURONS.index(neuron) % len(SYNAPSES)]
    network, samples = small(converter=NengoDLConverter(neuron=neuron, scale_firing_rates=200.0, synapse=synapse))
    bundle = round_trip(tmp_path / "net.snn", network, samples)
    if isinstance(neuron, nengo.LIF):
        with_nengo_dl = [references_of(own, samples[:3], "nengo_dl") for own in (network, bundle.converted)]
        assert np.array_equal(with_nengo_dl[0].outputs_btc, with_nengo_dl[1].outputs_btc)


def test_every_built_in_type_is_plain_data():
    made = {type(own): own for own in NEURONS if own is not None}
    made |= {type(own.base_type): own.base_type for own in NEURONS if hasattr(own, "base_type")}
    nengo_dl = import_nengo_dl()
    made |= {type(own): own for own in (nengo.Sigmoid(), nengo.Tanh(), nengo_dl.LeakyReLU(0.2, amplitude=3))}
    for cls in BUILT_IN:
        neuron = made.get(cls) or (cls(0.3) if "Leaky" in cls.__name__ else cls(7.0))
        again = neuron_of(json.loads(json.dumps(plain_neuron(neuron))))
        assert type(again) is cls and plain_neuron(again) == plain_neuron(neuron)


def test_factors_and_offsets_of_channels_settings_and_an_encoder_come_back(tmp_path):
    converter = NengoDLConverter(
        scale_firing_rates={"hidden": 150.0},
        channel_factors={"hidden": [1, 2, 3, 4, 5, 0.5]},
        bias_offsets={"hidden": [0.1, -0.2, 0.3, 0, 0, 1.5]},
    )
    simulation = {"precision": "float64", "readout": "later_half", "dt": 0.002}
    network, samples = small(converter=converter, encoder=PoissonEncoder(200.0), **simulation)
    bundle = round_trip(tmp_path / "net.snn", network, samples)
    layer = bundle.converted.network.layers[0]
    assert bundle.converted.encoder == PoissonEncoder(200.0) and bundle.converted.seed == 5
    assert layer.channel_factors_c.tolist() == [1, 2, 3, 4, 5, 0.5]
    assert layer.bias_offset_c.tolist() == [0.1, -0.2, 0.3, 0, 0, 1.5]
    plain, _ = small()
    of_model = plain.network.keras_model.predict(samples, verbose=0)
    of_rates = NetworkOfRates(bundle.converted.network, 0.002).predict_on_batch(samples)
    assert np.allclose(of_rates, of_model, atol=1e-5)
    assert not np.allclose(bundle.converted.network.keras_model.predict(samples, verbose=0), of_model, atol=1e-2)


def test_the_same_network_gives_the_same_bytes(tmp_path):
    files = [write_bundle(tmp_path / f"{i}.snn", *small()).read_bytes() for i in range(2)]
    assert files[0] == files[1]


@pytest.mark.slow
def test_drawn_networks_are_the_same_to_the_bit(tmp_path_factory):
    path = tmp_path_factory.mktemp("drawn") / "net.snn"

    @settings(
        max_examples=40,
        deadline=None,
        phases=[Phase.generate],
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(networks())
    def same(drawn: Drawn) -> None:
        network = drawn.network()
        model = network.keras_model
        whole = Converted(
            name="drawn",
            network=network,
            settings=SimulationSettings(n_steps=drawn.n_steps, dt=drawn.dt),
            encoder=ConstantEncoder(),
            seed=0,
            input_shape=model.input_shape[1:],
            class_names=tuple(map(str, range(model.output_shape[-1]))),
            plan=snnpipe.ConversionPlan(()),
        )
        round_trip(path, whole, RNG.uniform(-1, 1, (2, *model.input_shape[1:])).astype(np.float32))

    same()


# ---------------------------------------------------------------------- what cannot be written


class Own(nengo.SpikingRectifiedLinear):
    """Neurons of one's own."""


class OwnEncoder(ConstantEncoder):
    """An encoder of one's own."""


def _with_software():
    hidden = [layers.Dense(6, activation="relu"), layers.LayerNormalization()]
    model = keras.Sequential([layers.Input((4,)), *hidden, layers.Dense(3)])
    return converted(model, NengoDLConverter(scale_firing_rates=100.0, allow_fallback=True))


def _with(**changes):
    return lambda: small(converter=NengoDLConverter(**{"scale_firing_rates": 1.0, **changes}))


class Lazy(nengo.LinearFilter):
    """A synapse of one's own."""


CODE = [
    (_with(neuron=Own()), "layer 'hidden': neurons of type Own"),
    (_with(synapse=Lazy([1], [0.1, 1])), "layer 'hidden': the synapse"),
    (lambda: small(encoder=OwnEncoder()), "the encoder OwnEncoder is code"),
    (_with_software, "is a LayerNormalization, which a file of plain data cannot hold"),
]


@pytest.mark.parametrize(("make", "message"), CODE)
def test_code_is_refused_by_name(make, message, tmp_path):
    network, samples = make()
    with pytest.raises(BundleError, match=message):
        write_bundle(tmp_path / "net.snn", network, samples)
    assert not list(tmp_path.iterdir())


def test_a_network_written_in_nengo_is_refused(tmp_path):
    with nengo.Network(seed=0) as network:
        node, neurons = nengo.Node(np.zeros(4)), nengo.Ensemble(3, 1).neurons
        nengo.Connection(node, neurons, transform=np.ones((3, 4)), synapse=None)
        probe = nengo.Probe(neurons)
    whole, samples = small()
    with pytest.raises(BundleError, match="written in Nengo"):
        write_bundle(tmp_path / "net.snn", replace(whole, network=spiking_network(network, node, probe)), samples)


# ---------------------------------------------------------------------- files that were altered


def test_an_altered_byte_is_noticed_wherever_it_is(file, tmp_path):
    data = file.read_bytes()
    for place in [*range(0, len(data), len(data) // 40), len(data) - 1, len(data) - 70]:
        altered = bytearray(data)
        altered[place] ^= 1
        (tmp_path / "altered.snn").write_bytes(altered)
        with pytest.raises(BundleError, match=r"altered or cut off|no network of snnpipe"):
            snnpipe.load(tmp_path / "altered.snn")
    for cut in (b"", data[:100], data[:-1], data + b"\n"):
        (tmp_path / "cut.snn").write_bytes(cut)
        with pytest.raises(BundleError, match=r"altered or cut off|no network of snnpipe"):
            snnpipe.load(tmp_path / "cut.snn")
    with pytest.raises(BundleError, match="No such file"):
        snnpipe.load(tmp_path / "none.snn")


# ---------------------------------------------------------------------- files that are hostile


class Exploit:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("exploited",)


def _archive(path, members, compression=zipfile.ZIP_STORED):
    """A file of any members with the right checksum."""
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members:
            file.writestr(name, data)
        file.comment = bytes(64)
    data = path.read_bytes()[:-64]
    path.write_bytes(data + sha256(data).hexdigest().encode())
    return path


def test_members_are_those_of_a_network_and_no_others(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(file) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    attack = pickle.dumps(Exploit())
    for name, data in (("model.pkl", attack), ("../escaped", b""), ("/tmp/escaped", b""), members[0]):
        with pytest.warns(UserWarning, match="Duplicate") if (name, data) == members[0] else _nothing():
            path = _archive(tmp_path / "net.snn", [*members, (name, data)])
        with pytest.raises(BundleError, match="its members are"):
            snnpipe.load(path)
    with pytest.raises(BundleError, match="without compression"):
        snnpipe.load(_archive(tmp_path / "net.snn", members, zipfile.ZIP_DEFLATED))
    for i in range(len(members)):
        exchanged = [(name, attack if i == j else data) for j, (name, data) in enumerate(members)]
        with pytest.raises(BundleError, match="cannot be read as a network"):
            snnpipe.load(_archive(tmp_path / "net.snn", exchanged))
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(BundleError, match="cannot be read as a network"):
        snnpipe.load(_archive(tmp_path / "net.snn", [(n, deep if n == "network.json" else d) for n, d in members]))
    assert sorted(own.name for own in tmp_path.iterdir()) == ["net.snn"]


def _nothing():
    from contextlib import nullcontext

    return nullcontext()


def _forged(file, path, change):
    """A file whose content has been changed, with the right checksum."""
    members = read_members(file)
    parts = {name: copy.deepcopy(getattr(members, name)) for name in ("manifest", "network", "weights", "references")}
    change(**parts)
    return write_members(path, Members(**parts))


def _layer(number, **changes):
    def change(network, **others):
        network["layers"][number].update(changes)

    return change


def _huge(network, weights, **others):
    network["layers"][0]["shape"] = [2**40]
    weights["weights/hidden/0"] = np.zeros((0, 6), np.float32)


def _up_sampled(network, **others):
    own = {"name": "up", "kind": "UpSampling1D", "inputs": ["wide"], "settings": {"size": 2**31 - 1}}
    wide = {"name": "wide", "kind": "Reshape", "inputs": ["values"], "settings": {"target_shape": [2, 2]}}
    network["layers"][1:1] = [wide, own]


def _dilated(network, weights, **others):
    words = {"padding": "same", "activation": "linear"}
    sizes = {"filters": 1, "groups": 1, "kernel_size": [2], "strides": [1], "dilation_rate": [2**30]}
    settings = words | sizes | {"use_bias": False}
    own = {"name": "conv", "kind": "Conv1D", "inputs": ["wide"], "settings": settings}
    wide = {"name": "wide", "kind": "Reshape", "inputs": ["values"], "settings": {"target_shape": [4, 1]}}
    network["layers"][1:1] = [wide, own]
    weights["weights/conv/0"] = np.zeros((2, 1, 1), np.float32)


def _neuron(**changes):
    def change(network, **others):
        network["neurons"][0].update(changes)

    return change


def _nested(network, **others):
    base = {"type": "RectifiedLinear", "amplitude": 1}
    for _ in range(500):
        base = {"type": "RegularSpiking", "base_type": base, "amplitude": 1}
    network["neurons"][0]["neuron"] = base


def _array(part, name, values):
    def change(**parts):
        parts[part][name] = values

    return change


def _manifest(key, value):
    def change(manifest, **others):
        *path, last = key.split(".")
        for own in path:
            manifest = manifest[own]
        manifest[last] = value

    return change


LAMBDA = {"function": "__import__('os').mkdir('exploited')", "module": "builtins"}
HOSTILE = {
    "a lambda": (_layer(1, kind="Lambda", settings=LAMBDA), r"layer 'hidden' \(Lambda\): a file can only hold"),
    "a class": (_layer(1, kind="keras.Model"), "a file can only hold"),
    "no text for a kind": (_layer(1, kind=["Dense"]), "description is damaged"),
    "a further setting": (_layer(1, settings={"units": 6, "kernel_initializer": "os.system"}), "its settings must be"),
    "an activation": (
        _layer(1, settings={"units": 6, "use_bias": True, "activation": "os.system"}),
        "got activation='os.system': takes linear, relu",
    ),
    "a mapping for a number": (
        _layer(1, settings={"units": {}, "use_bias": True, "activation": "relu"}),
        "takes numbers",
    ),
    "units without weights": (
        _layer(1, settings={"units": 2**30, "use_bias": True, "activation": "relu"}),
        "its weights have the shapes",
    ),
    "a huge input": (_huge, "larger than the"),
    "a huge tensor": (_up_sampled, "layer 'up' .*larger than the"),
    "a huge window": (_dilated, "layer 'conv' .*larger than the"),
    "no such input": (_layer(1, inputs=["nobody"]), "its inputs are"),
    "a name twice": (_layer(2, name="hidden"), "a name of its own"),
    "no layers": (lambda network, **others: network.update(layers=[]), "no list of layers"),
    "unknown neurons": (_neuron(neuron={"type": "os.system"}), "neurons: got 'os.system'; .*known"),
    "nested neurons": (_nested, "neurons: got"),
    "no number": (_neuron(neuron={"type": "SpikingRectifiedLinear", "amplitude": "1"}), "takes a number"),
    "no amplitude": (_neuron(neuron={"type": "SpikingRectifiedLinear", "amplitude": -1}), "SpikingRectifiedLinear"),
    "a wrong scale": (_neuron(scale_firing_rates=-1), "scale_firing_rates"),
    "a synapse of code": (_neuron(synapse={"type": "Lowpass"}), "synapse"),
    "no such layer": (_neuron(layer="nobody"), "neurons of layer 'nobody'"),
    "a pickled array": (
        _array("weights", "weights/hidden/0", np.zeros((4, 7), np.float32)),
        "its weights have the shapes",
    ),
    "no numbers": (_array("weights", "weights/hidden/1", np.full(6, np.nan, np.float32)), "infinite or no numbers"),
    "a short state": (_array("weights", "initial_state/hidden/voltage", np.arange(5.0)), "layer 'hidden'|other sizes"),
    "short offsets": (_array("weights", "bias_offsets/hidden", np.ones(5)), "other sizes"),
    "one state for all": (_array("weights", "initial_state/hidden/voltage", np.ones(1)), "other sizes"),
    "other references": (_array("references", "samples", np.zeros((9, 4), np.float32)), "references"),
    "short references": (_array("references", "outputs", np.zeros((8, 5, 3), np.float32)), "references have outputs"),
    "another format": (_manifest("format", 99), "has format 99, and this snnpipe reads format 1"),
    "another shape": (_manifest("input_shape", [5]), "do not fit its layers"),
    "a long run": (_manifest("simulation.n_steps", "many"), "n_steps"),
    "a simulator of code": (_manifest("simulator_of_references", "os.system"), "references"),
    "an encoder of code": (_manifest("encoder", {"type": "os.system"}), "knows constant and poisson"),
    "a seed": (_manifest("seed", -1), "seed"),
    "pixels by nothing": (_manifest("pixels", {"divisor": [0], "shift": [0]}), "scaling of pixels"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_network_has_is_refused_by_name(name, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change, message = HOSTILE[name]
    with pytest.raises(BundleError, match=message) as error:
        snnpipe.load(_forged(file, tmp_path / "net.snn", change))
    assert "\n" not in str(error.value) and [own.name for own in tmp_path.iterdir()] == ["net.snn"]


def test_references_that_come_out_otherwise_are_reported(file, tmp_path):
    members = read_members(file)
    outputs, counts = members.references["outputs"].copy(), members.references["counts/hidden"].copy()
    outputs[2, 3, 1] += 100
    with pytest.raises(BundleError, match=r"output 1 of sample 2 after step 4 is .* and was"):
        snnpipe.load(_forged(file, tmp_path / "net.snn", _array("references", "outputs", outputs)))
    counts[0, 0] += 50
    with pytest.raises(BundleError, match=r"most of them in layer 'hidden': 50"):
        snnpipe.load(_forged(file, tmp_path / "net.snn", _array("references", "counts/hidden", counts)))
    assert snnpipe.load(tmp_path / "net.snn", replay=False).replay is None
    outputs[2, 3, 1] -= 100 - 1e-3
    model = snnpipe.load(_forged(file, tmp_path / "net.snn", _array("references", "outputs", outputs)))
    assert not model.replay.exact and 0 < model.replay.output_difference < 1e-2
    other = _forged(file, tmp_path / "net.snn", _manifest("versions.tensorflow", "1.15"))
    assert "tensorflow 1.15 there and 2." in repr(snnpipe.load(other))


def _places(value, path=()):
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from _places(value[key], (*path, key))


@pytest.mark.slow
def test_any_part_of_a_description_may_be_anything(file, tmp_path):
    """A description with one part exchanged gives a network or a `BundleError`, and no other error."""
    members, refused = read_members(file), 0
    values = (None, -1, 2**70, 1e308, "os.system", [], {}, [[]], True)
    for part in ("manifest", "network"):
        for i, place in enumerate(p for p in _places(getattr(members, part)) if p):
            for value in (values[i % len(values)], values[(i + 4) % len(values)]):

                def change(value=value, place=place, part=part, **parts):
                    own = parts[part]
                    for key in place[:-1]:
                        own = own[key]
                    own[place[-1]] = value

                try:
                    snnpipe.load(_forged(file, tmp_path / "net.snn", change), replay=False)
                except BundleError as error:
                    refused += "\n" not in str(error)
    assert refused > 60
