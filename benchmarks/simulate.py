"""What simulating costs: NengoDL, the two fast simulators, a dense floor and other libraries; see docs/benchmarks.md.

    python benchmarks/simulate.py                  # everything, an hour and a half on two cores, most of it NengoDL's
    python benchmarks/simulate.py main density     # some sections; the others keep their last figures

It wants MNIST and CIFAR-10 prepared (TFDS_DATA_DIR), trained networks for CIFAR-10 in the folder that
SNNPIPE_BENCHMARK_MODELS names (for the sections bn_8, bn_16 and resnet20_16), and an idle machine. Each section runs
in a process of its own that is held to its cores; within a section the subjects take turns, and a figure is the median
of its rounds. The two networks of the recipes are trained once and kept in mlruns/benchmarks/, like the figures of each
section.
"""

import argparse
import contextlib
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parent
STORE = ROOT / "mlruns" / "benchmarks"
DT, SYNAPSE = 0.001, 0.005
RECIPES = {"mnist": 25.0, "cifar10": 20.0}
EPOCHS = {"mnist": 2, "cifar10": 3}
OURS = ("clock_driven", "event_driven")
FASTEST = ("snnTorch", "sinabs")
"""The libraries that were fastest on the recipes."""
SECTIONS = {
    "main": 1,
    "main_2_cores": 2,
    "cifar10": 1,
    "bn_8": 1,
    "bn_16": 1,
    "resnet20_16": 1,
    "density": 1,
    "duration": 1,
    "batch": 1,
    "memory": 1,
    "compile": 1,
    "parts": 1,
    "rounding": 2,
    "runs": 2,
    "runs_nengo_dl": 2,
}
"""Section and the cores it may use."""
MODELS = "SNNPIPE_BENCHMARK_MODELS"
"""Variable of the environment with the folder of cifar10_bn.keras and cifar10_resnet20.keras."""

# ---------------------------------------------------------------------- what is measured


def recipe(name, images, scale=None):
    """Return network and images of a recipe, trained if that was not done yet."""
    import nengo

    from snnpipe import Cnn2d, KerasTraining, NengoDLConverter, TfdsDataModule
    from snnpipe.frameworks.compat import start_afresh
    from snnpipe.testing import Silent
    from snnpipe.values.checkpoint import Checkpoint

    data = TfdsDataModule(name, batch_size=100, scaling="minus_one_to_one")
    data.setup()
    start_afresh(0)
    model = Cnn2d(filters=[32, 64, 128], dense=512).build(data.spec)
    folder = STORE / name
    if not (folder / "checkpoint.json").exists():
        KerasTraining(epochs=EPOCHS[name], learning_rate=1e-3).fit(model, data, Silent()).save(folder)
    Checkpoint.load(folder).apply(model)
    converter = NengoDLConverter(
        neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=scale or RECIPES[name], synapse=SYNAPSE
    )
    found, _ = next(iter(data.test_dataset(images).as_numpy_iterator()))
    return converter.convert(model, seed=0), found


def ours(name, network, n_steps, batch, precision="float32", readout="last"):
    """Return a function from images to logits: one of snnpipe's simulators, as the trainer uses it."""
    import snnpipe
    from snnpipe.values.simulation import Stimulus

    kinds = {
        "clock_driven": snnpipe.ClockDrivenSimulator,
        "event_driven": snnpipe.EventDrivenSimulator,
        "nengo_dl": snnpipe.NengoDLSimulator,
    }
    opened = kinds[name](n_steps=n_steps, batch_size=batch, dt=DT, precision=precision).open(network).__enter__()

    def simulate(images):
        chunks = list(opened.run(Stimulus(images, range(len(images)), snnpipe.ConstantEncoder())))
        outputs = np.concatenate([chunk.outputs_btc for chunk in chunks], axis=1)
        return outputs[:, -1] if readout == "last" else outputs.mean(axis=1)

    simulate.run = opened.run
    return simulate


def nengo_dl(network, n_steps, batch):
    """Return NengoDL's own simulator, with a probe on the output and nothing else."""
    from snnpipe.frameworks.compat import import_nengo_dl, without_build_notes

    with without_build_notes():
        simulator = import_nengo_dl().Simulator(network.network, dt=DT, minibatch_size=batch, progress_bar=False)

    def simulate(images):
        signal = np.tile(images.reshape(len(images), 1, -1), (1, n_steps, 1))
        return simulator.predict_on_batch({network.input: signal})[network.output][:, -1]

    return simulate


def floor(network, n_steps):
    """Return as many plain forward passes of the Keras model as there are steps."""
    import tensorflow as tf

    forward = tf.function(network.keras_model.call)

    def simulate(images):
        x = tf.constant(images)
        for _ in range(n_steps):
            found = forward(x)
        return found.numpy()

    return simulate


def peers(network, scale, n_steps, only=()):
    """Return the other libraries that are installed, as functions from images to logits; those of ``only`` if given."""
    import peers as module

    model = network.keras_model
    module.set_threads(len(os.sched_getaffinity(0)))
    pairs = [tuple(layer.get_weights()) for layer in model.layers if layer.get_weights()]
    weights = module.Weights(
        image_shape=tuple(model.input_shape[1:]),
        convolutions=tuple(pairs[:-2]),
        dense=pairs[-2],
        logits=pairs[-1],
        voltages=tuple(layer.initial_state["voltage"].astype(np.float32) for layer in network.layers),
    )
    settings = {"scale": scale, "synapse": SYNAPSE, "dt": DT, "n_steps": n_steps}
    makers = module.available()
    made = {name: make(weights, **settings) for name, make in makers.items() if not only or name in only}
    return made | ({"PyTorch floor": module.dense_floor(weights, n_steps=n_steps)} if made and not only else {})


def turns(subjects, images, rounds, slow=()):
    """Time the subjects in turn; CPU and wall seconds (medians), and the share of classes that are NengoDL's."""
    found = {name: simulate(images) for name, simulate in subjects.items()}  # warm-up: everything is compiled
    times = {name: [] for name in subjects}
    for turn in range(rounds):
        for name, simulate in subjects.items():
            if name in slow and turn >= 2:
                continue
            cpu, wall = time.process_time(), time.perf_counter()
            simulate(images)
            times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    reference = next(iter(found.values())).argmax(axis=-1)
    return {
        name: {
            "cpu": float(np.median([t[0] for t in taken])),
            "wall": float(np.median([t[1] for t in taken])),
            "best": float(np.min([t[0] for t in taken])),
            "rounds": len(taken),
            "agreement": float(np.mean(found[name].argmax(axis=-1) == reference)),
        }
        for name, taken in times.items()
    }


def density(network, simulate, images, n_steps):
    """Return spikes per neuron and step."""
    from snnpipe import ConstantEncoder
    from snnpipe.values.simulation import Stimulus

    total = 0.0
    for chunk in simulate.run(Stimulus(images, range(len(images)), ConstantEncoder())):
        total += sum(activity.counts_bn.sum(dtype=np.float64) for activity in chunk.layers.values())
    return total / sum(layer.size for layer in network.layers) / len(images) / n_steps


# ---------------------------------------------------------------------- sections


def main_table(name="mnist", n_images=200, n_steps=60, rounds=5):
    network, images = recipe(name, n_images)
    events = ours("event_driven", network, n_steps, n_images)
    subjects = {
        "NengoDL": nengo_dl(network, n_steps, n_images),
        "clock_driven": ours("clock_driven", network, n_steps, n_images),
        "event_driven": events,
        "Keras floor": floor(network, n_steps),
        **peers(network, RECIPES[name], n_steps),
    }
    return {
        "images": n_images,
        "n_steps": n_steps,
        "density": density(network, events, images, n_steps),
        "subjects": turns(subjects, images, rounds, slow=("NengoDL",)),
    }


def whole_network(name, n_steps, n_images=100, rounds=3):
    """A trained network with scales from data, and signed neurons without filters: what low latency looks like."""
    import peers as module

    import snnpipe

    data = snnpipe.TfdsDataModule("cifar10", batch_size=1000, scaling="standardised")
    data.setup()
    calibration, *_ = next(iter(data.train_dataset().as_numpy_iterator()))
    images, *_ = next(iter(data.test_dataset(n_images).as_numpy_iterator()))
    path = Path(os.environ[MODELS]) / f"cifar10_{name}.keras"
    spiking = snnpipe.convert(str(path), calibration=calibration, n_steps=n_steps)
    network, readout = spiking.network, spiking.calibration.readout
    events = ours("event_driven", network, n_steps, n_images, readout="mean")
    subjects = {
        "event_driven": events,
        "clock_driven": ours("clock_driven", network, n_steps, n_images, readout="mean"),
        "Keras floor": floor(network, n_steps),
    }
    module.set_threads(len(os.sched_getaffinity(0)))
    thresholds = {layer: 1 / (scale * DT) for layer, scale in spiking.calibration.scales.items()}
    libraries = module.available_for(network.keras_model, thresholds)
    subjects |= {library: make(n_steps) for library, make in libraries.items()}
    if libraries:
        subjects["PyTorch floor"] = module.floor_for(network.keras_model, n_steps)
    return {
        "images": n_images,
        "n_steps": n_steps,
        "spikes_per_step": spiking.calibration.spikes_per_step,
        "readout": readout,
        "density": density(network, events, images, n_steps),
        "subjects": turns(subjects, images, rounds),
    }


def by_density(n_images=40, n_steps=60, rounds=3):
    rows = []
    for scale in (5, 10, 25, 50, 100, 200, 400, 800):
        network, images = recipe("mnist", n_images, float(scale))
        subjects = {name: ours(name, network, n_steps, n_images) for name in OURS}
        share = density(network, subjects["event_driven"], images, n_steps)
        subjects["Keras floor"] = floor(network, n_steps)
        subjects |= peers(network, float(scale), n_steps, FASTEST)
        rows.append({"scale": scale, "density": share, "subjects": turns(subjects, images, rounds)})
    return {"images": n_images, "n_steps": n_steps, "rows": rows}


def by_duration(n_images=40, rounds=3):
    rows = []
    for n_steps in (10, 30, 100, 300, 1000):
        network, images = recipe("mnist", n_images)
        subjects = {name: ours(name, network, n_steps, n_images) for name in OURS}
        subjects["Keras floor"] = floor(network, n_steps)
        if n_steps <= 100:
            subjects["NengoDL"] = nengo_dl(network, n_steps, n_images)
        rows.append({"n_steps": n_steps, "subjects": turns(subjects, images, rounds, slow=("NengoDL",))})
    return {"images": n_images, "rows": rows}


def by_batch(n_steps=16, rounds=9):
    rows = []
    for batch in (1, 10, 50, 200):
        network, images = recipe("mnist", batch)
        subjects = {name: ours(name, network, n_steps, batch) for name in OURS}
        subjects["Keras floor"] = floor(network, n_steps)
        subjects["NengoDL"] = nengo_dl(network, n_steps, batch)
        if batch in (1, 50):
            subjects |= peers(network, RECIPES["mnist"], n_steps, FASTEST)
        rows.append({"batch": batch, "subjects": turns(subjects, images, rounds, slow=("NengoDL",))})
    return {"n_steps": n_steps, "rows": rows}


def memory():
    """Peak memory of a process for each subject, above one that only makes the network and predicts with it."""
    found = {}
    for subject, n_steps in [("nothing", 60), *((s, n) for s in OURS for n in (60, 2000)), ("NengoDL", 60)]:
        done = subprocess.run(
            [sys.executable, __file__, "--peak", subject, str(n_steps)], capture_output=True, text=True, check=True
        )
        found[f"{subject} {n_steps}"] = float(done.stdout.splitlines()[-1])
    return found


def peak(subject, n_steps):
    import resource

    network, images = recipe("mnist", 200)
    network.keras_model.predict_on_batch(images)
    if subject == "NengoDL":
        nengo_dl(network, n_steps, 200)(images)
    elif subject != "nothing":
        ours(subject, network, n_steps, 200)(images)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def compiling():
    """Seconds until the first image is simulated and what it takes once compiled, with an empty and a filled cache."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, __file__, "--first"]
        runs = [
            subprocess.run(
                command, capture_output=True, text=True, check=True, env=os.environ | {"NUMBA_CACHE_DIR": cache}
            )
            for _ in range(2)
        ]
    return dict(zip(("first", "cached"), (json.loads(run.stdout.splitlines()[-1]) for run in runs), strict=True))


def parts():
    """Seconds of CPU by what is done."""
    import parts as module

    network, images = recipe("mnist", 200)
    return {
        "images": 200,
        "n_steps": 60,
        "clock_driven": module.clock_driven(network, images, 60),
        "event_driven": module.event_driven(network, images, 60),
    }


def rounding(n_images=100, n_steps=60):
    """Classes of each simulator in either precision, against NengoDL's in double precision."""
    found = {}
    for name in RECIPES:
        network, images = recipe(name, n_images)
        logits = {
            (kind, precision): ours(kind, network, n_steps, n_images, precision)(images)
            for kind in ("nengo_dl", *OURS)
            for precision in ("float64", "float32")
        }
        reference = logits["nengo_dl", "float64"]
        found[name] = [
            {
                "simulator": kind,
                "precision": precision,
                "agreement": float(np.mean(own.argmax(axis=-1) == reference.argmax(axis=-1))),
                "difference": float(np.max(np.abs(own - reference)) / np.max(np.abs(reference))),
            }
            for (kind, precision), own in logits.items()
        ]
    return {"images": n_images, "n_steps": n_steps, "recipes": found}


def whole_runs(*jobs):
    """Whole commands as a user types them: the digits, and all of MNIST's test images with weights trained before."""
    recipe("mnist", 1)  # trains where that was not done yet
    mnist = [
        "data=mnist",
        "data.scaling=minus_one_to_one",
        "model=cnn2d",
        "training=pretrained",
        f"training.checkpoint={STORE / 'mnist'}",
        "neuron=spiking_relu",
        f"conversion.scale_firing_rates={RECIPES['mnist']}",
        f"conversion.synapse={SYNAPSE}",
        "simulator.n_steps=60",
        "simulator.readout=last",
        "simulator.batch_size=200",
    ]
    found = []
    for what, kind in jobs:
        overrides = [] if what == "digits" else mnist
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "snnpipe", *overrides, f"simulator={kind}", "logger=csv"]
            began = time.perf_counter()
            subprocess.run([*command, f"paths.output_dir={folder}"], check=True, capture_output=True)
            seconds = time.perf_counter() - began
            with (Path(folder) / "metrics.csv").open(newline="") as file:
                metrics = {row["metric"]: float(row["value"]) for row in csv.DictReader(file) if not row["step"]}
        images = int(metrics["snn/test_images"])
        found.append(
            {
                "what": what,
                "simulator": kind,
                "images": images,
                "simulating": images / metrics["simulate/images_per_s"],
                "command": seconds,
                "accuracy": metrics["snn/test_accuracy"],
            }
        )
    return found


def first():
    network, images = recipe("mnist", 1)
    found = {}
    for name in OURS:
        began = time.perf_counter()
        simulate = ours(name, network, 60, 1)
        laid_out = time.perf_counter()
        simulate(images)
        then = time.perf_counter()
        simulate(images)
        found[name] = {"laid_out": laid_out - began, "compiled": then - laid_out - (time.perf_counter() - then)}
    print(json.dumps(found))


RUN = {
    "main": main_table,
    "main_2_cores": lambda: main_table(rounds=3),
    "cifar10": lambda: main_table("cifar10", 100, 60, rounds=3),
    "bn_8": lambda: whole_network("bn", 8),
    "bn_16": lambda: whole_network("bn", 16),
    "resnet20_16": lambda: whole_network("resnet20", 16, n_images=50),
    "density": by_density,
    "duration": by_duration,
    "batch": by_batch,
    "memory": memory,
    "compile": compiling,
    "parts": parts,
    "rounding": rounding,
    "runs": lambda: whole_runs(
        ("digits", "nengo_dl"), ("digits", "auto"), ("MNIST test set", "clock_driven"), ("MNIST test set", "auto")
    ),
    "runs_nengo_dl": lambda: whole_runs(("MNIST test set", "nengo_dl")),
}


def run_section(name):
    """Run a section in this process and keep its figures."""
    with contextlib.suppress(ImportError):
        import triton  # noqa: F401  before TensorFlow: the other way round, its own LLVM ends the process

    from snnpipe.frameworks.compat import import_nengo_dl, import_tensorflow

    sys.path.insert(0, str(HERE))
    threads = len(os.sched_getaffinity(0))
    tf = import_tensorflow()
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    import_nengo_dl()
    found = {"measured": time.strftime("%Y-%m-%d"), "machine": machine(), "found": RUN[name]()}
    STORE.mkdir(parents=True, exist_ok=True)
    (STORE / f"{name}.json").write_text(json.dumps(found, indent=1))


def machine():
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return f"{names[0] if names else platform.processor()}, {len(names)} cores, Python {platform.python_version()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="default: all")
    parser.add_argument("--section", help=argparse.SUPPRESS)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--first", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.section:
        run_section(chosen.section)
    elif chosen.peak:
        peak(chosen.peak[0], int(chosen.peak[1]))
    elif chosen.first:
        first()
    else:
        for name in chosen.sections or SECTIONS:
            cores = sorted(os.sched_getaffinity(0))[-SECTIONS[name] :]
            print(f"{name} ...", flush=True)
            subprocess.run(
                ["taskset", "-c", ",".join(map(str, cores)), sys.executable, __file__, "--section", name],
                check=True,
                env=os.environ | {"OMP_NUM_THREADS": str(len(cores)), "OMP_WAIT_POLICY": "passive"},
            )
        from simulate_report import write

        write(STORE, ROOT / "docs")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    main()
