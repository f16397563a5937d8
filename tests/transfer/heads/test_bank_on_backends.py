"""A bank comes to the same on TensorFlow, JAX and PyTorch, wherever they are installed."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.places import PROJECT

REFERENCE = {
    "linear, adamw": {
        "epochs": [4, 5, 5, 5],
        "places": [1, 2, 3],
        "loss": [2.88703, 0.62685, 0.65028, 0.67825],
        "val_loss": [2.56498, 0.55312, 0.55763, 0.54175],
        "val_accuracy": [0.7, 0.805, 0.82, 0.825],
        "accuracy_of_head": 0.805,
        "best_accuracy": 0.805,
        "weights": [
            *(-0.01926, -0.2989, 0.52666),
            *(-0.26363, -0.15356, 0.85217),
            *(-0.25789, -0.17604, 0.82126),
        ],
    },
    "hidden, adamw": {
        "epochs": [5, 2, 5],
        "places": [0, 2],
        "loss": [0.82888, 1.00053, 1.04885],
        "val_loss": [0.79027, 0.94203, 0.9546],
        "val_accuracy": [0.73, 0.65, 0.515],
        "weights": [-0.27588, -0.06436, -0.4207, 0.14453, 0.24088, 0.11599],
    },
    "hidden, sgd": {
        "epochs": [5, 5, 5],
        "places": [0, 1, 2],
        "loss": [0.87868, 0.98242, 1.03734],
        "val_loss": [0.89819, 0.9389, 0.95642],
        "val_accuracy": [0.605, 0.635, 0.6],
        "weights": [
            *(-0.47532, 0.9437, -0.17085),
            *(-0.30091, 0.0955, -0.48275),
            *(-0.14645, 0.22279, 0.17023),
        ],
    },
}
"""What all three backends gave, Keras 3.15 on a CPU; they differed by no more than 0.00002."""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_a_bank_comes_to_the_same_on_every_backend(backend):
    if not importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.transfer.heads.backends"],
        cwd=PROJECT,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["backend"] == backend
    assert told["tensorflow"] == (backend == "tensorflow")  # no other needs it
    assert told["results"].keys() == REFERENCE.keys()
    for name, expected in REFERENCE.items():
        found = told["results"][name]
        assert found.keys() == expected.keys()
        for key, values in expected.items():
            # One of 200 images may be a matter of rounding.
            tolerance = 0 if key in ("epochs", "places") else 0.006 if "acc" in key else 2e-4
            np.testing.assert_allclose(
                found[key], values, rtol=0, atol=tolerance, err_msg=f"{name}: {key}"
            )
