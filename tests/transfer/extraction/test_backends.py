"""`transfer features` on TensorFlow, JAX and PyTorch, and on several devices: the same features."""

import importlib.util
import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest

from cache import FeatureFile
from cache.store import read_about
from tests.places import PROJECT

OPTIONS = [
    *["features", "--data", "digits", "--limit-per-class", "6", "--engine", "keras"],
    *["--backbone", "EfficientNetLite0", "--image-size", "48", "--extract-batch-size", "16"],
    *["--cut", "block2b_depthwise_relu", "block4a_depthwise_relu"],  # all would compile for long
]
WITHOUT_TENSORFLOW = """
import sys
from pipelines.cli import main
status = main(sys.argv[1:])
sys.exit(status or "tensorflow" in sys.modules)
"""
"""The command line; fails if TensorFlow is imported, which no other backend needs."""
TWO_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}


def backends(*names):
    return [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                importlib.util.find_spec(name) is None, reason=f"{name} is not installed"
            ),
        )
        for name in names
    ]


def run(words, backend, **environment):
    """Runs Python as a user would, on a backend of Keras, and returns what it printed."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=PROJECT,
        env={**os.environ, "KERAS_BACKEND": backend, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def features_of(tmp_path_factory):
    # JAX compiles each step of building a network; its processes share what they compiled.
    compiled = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("compiled")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

    @cache
    def extracted(backend, *more, **environment):
        folder = tmp_path_factory.mktemp(backend)
        program = ["-m", "pipelines.cli"] if backend == "tensorflow" else ["-c", WITHOUT_TENSORFLOW]
        words = [*program, *OPTIONS, "--artifacts", str(folder), *more]
        said = run(words, backend, **compiled, **environment)
        (path,) = folder.glob("features/*/features.h5")
        with FeatureFile(path) as file:
            rows = np.arange(len(file))
            features = {cut: file.read(rows, (cut,)) for cut in file.cuts}
            return said, read_about(path), file.spec.key, features

    return extracted


def largest_differences(found, expected):
    assert found.keys() == expected.keys()
    return {
        cut: np.abs(found[cut] - values).max() / np.abs(values).max()
        for cut, values in expected.items()
    }


@pytest.mark.parametrize("backend", backends("jax", "torch"))
def test_features_and_key_depend_neither_on_the_backend_nor_on_tensorflow(backend, features_of):
    _, _, key, expected = features_of("tensorflow")
    said, about, found_key, found = features_of(backend)
    assert found_key == key
    assert about["engine"] == f"keras ({backend}, CPU)"
    assert f"keras ({backend}, CPU)" in said
    assert max(largest_differences(found, expected).values()) < 1e-5


@pytest.mark.parametrize("backend", backends("tensorflow", "jax", "torch"))
def test_bfloat16_has_a_key_of_its_own_and_is_near(backend, features_of):
    _, _, key, expected = features_of(backend)
    _, _, other_key, found = features_of(backend, "--precision", "bfloat16")
    assert other_key != key
    differences = largest_differences(found, expected)
    assert max(differences.values()) < 0.2
    assert min(differences.values()) > 1e-4


@pytest.mark.parametrize("backend", backends("jax"))
def test_two_devices_share_each_batch_and_change_no_feature(backend, features_of):
    _, _, _, expected = features_of(backend)
    # Batches of 15 are rounded up to 16; the last one, of 12 rows, is filled up.
    more = ["--extract-batch-size", "15"]
    _, _, _, found = features_of(backend, *more, **TWO_DEVICES)
    assert max(largest_differences(found, expected).values()) < 1e-5
    program = (
        "import keras, numpy as np\n"
        "from transfer.extraction.keras_engine import _devices_to_share\n"
        "from transfer.backend.compiled import inference\n"
        "devices = _devices_to_share()\n"
        "model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])\n"
        "(output,) = inference(model, devices)(np.ones((6, 4), np.float32))\n"
        "print(len(devices), [shard.data.shape for shard in output.addressable_shards])"
    )
    assert run(["-c", program], backend, **TWO_DEVICES).strip() == "2 [(3, 3), (3, 3)]"
