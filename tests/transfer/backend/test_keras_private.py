"""The parts of Keras that it does not offer in public are still where we use them.

A Keras release may move them; then these tests say so before a user's features change.
"""

import random
import subprocess
import sys
import threading
from importlib import import_module

import keras
import numpy as np
import pytest

from transfer.backend import keras_private
from transfer.backend.keras_private import (
    DRAWN,
    fresh_layer_names,
    initial_weights_from,
    weights_come_later,
)

MOVED = f"Keras {keras.__version__} has moved %s: mend {keras_private.__name__}"


def kernel_of_a_new_layer():
    layer = keras.layers.Dense(3)
    layer.build((None, 4))
    return keras.ops.convert_to_numpy(layer.kernel)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("keras.src.backend.common.global_state", "get_global_attribute"),
        ("keras.src.backend.common.global_state", "set_global_attribute"),
        ("keras.src.random.seed_generator", "python_random"),
        ("keras.src.initializers.random_initializers", "random"),
    ],
)
def test_they_are_there(module, name):
    try:
        assert hasattr(import_module(module), name), MOVED % f"{module}.{name}"
    except ImportError:
        pytest.fail(MOVED % module)


def test_what_is_seldom_used_of_keras_comes_when_it_is_asked_for():
    program = """
import sys
from transfer.backend.startup import import_keras
import_keras()
import keras
print(sorted({"sklearn", "matplotlib"} & {*sys.modules}))
print(keras.wrappers.SKLearnClassifier.__name__, keras.visualization.plot_image_gallery.__name__)
print(sorted({"sklearn", "matplotlib"} & {*sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8")
    assert done.stdout.splitlines() == [
        "[]",
        "SKLearnClassifier plot_image_gallery",
        "['matplotlib', 'sklearn']",
    ], MOVED % "what imports scikit-learn" + done.stderr


def test_layer_names_begin_anew_and_go_on_behind_the_highest():
    for _ in range(5):
        last = keras.layers.Dense(1).name
    with fresh_layer_names():
        names = [keras.layers.Dense(1).name for _ in range(2)]
    assert names == ["dense", "dense_1"], MOVED % "the counters of automatic names"
    number = int(last.rpartition("_")[2])
    assert keras.layers.Dense(1).name == f"dense_{number + 1}"


def test_names_made_inside_are_not_given_again_where_they_were_more():
    with fresh_layer_names():
        keras.layers.ReLU()
        with fresh_layer_names():
            inside = {keras.layers.ReLU().name for _ in range(4)}
        assert keras.layers.ReLU().name not in inside


def test_initial_weights_follow_from_the_seed_whoever_draws_beside():
    stop = threading.Event()

    def draw():
        while not stop.is_set():
            random.random()

    other = threading.Thread(target=draw)
    other.start()
    try:
        kernels = []
        for seed in (3, 3, 4):
            with initial_weights_from(seed):
                kernels.append(kernel_of_a_new_layer())
    finally:
        stop.set()
        other.join()
    assert np.array_equal(kernels[0], kernels[1]), MOVED % "what initializers draw their seeds from"
    assert not np.array_equal(kernels[0], kernels[2])


def test_the_callers_random_state_stays_as_it_was():
    random.seed(5)
    expected = random.random()
    random.seed(5)
    with initial_weights_from(3):
        kernel_of_a_new_layer()
    assert random.random() == expected


def test_nothing_is_drawn_where_weights_come_later_but_in_other_threads(monkeypatch):
    from keras.src.initializers import random_initializers

    def refuse(*_, **__):
        raise AssertionError("something was drawn")

    found = {}
    with monkeypatch.context() as patch:
        for name in DRAWN:
            patch.setattr(random_initializers.random, name, refuse)
        with weights_come_later():
            found["here"] = kernel_of_a_new_layer()
    with weights_come_later():
        other = threading.Thread(target=lambda: found.update(there=kernel_of_a_new_layer()))
        other.start()
        other.join()
    assert found["here"].dtype == np.float32
    assert not found["here"].any(), MOVED % "what initializers draw with"
    assert found["there"].all()
    assert kernel_of_a_new_layer().all()


@pytest.mark.parametrize(
    "initializer", ["glorot_uniform", "he_normal", "random_normal", "random_uniform", "orthogonal"]
)
def test_every_initializer_gives_way(initializer):
    with weights_come_later():
        layer = keras.layers.Dense(3, kernel_initializer=initializer)
        layer.build((None, 4))
    assert np.isin(keras.ops.convert_to_numpy(layer.kernel), [0, 1]).all()  # a turn by nothing


def test_after_an_error_inside_weights_are_drawn_again():
    with pytest.raises(ZeroDivisionError), weights_come_later():
        raise ZeroDivisionError
    assert kernel_of_a_new_layer().all()


def test_after_an_error_inside_names_go_on():
    keras.layers.Reshape((1,))
    before = int(keras.layers.Reshape((1,)).name.rpartition("_")[2])
    with pytest.raises(ZeroDivisionError), fresh_layer_names():
        raise ZeroDivisionError
    assert keras.layers.Reshape((1,)).name == f"reshape_{before + 1}"


def test_after_an_error_inside_seeds_come_from_python_again():
    with pytest.raises(ZeroDivisionError), initial_weights_from(3):
        raise ZeroDivisionError
    kernels = []
    for _ in range(2):
        random.seed(5)
        kernels.append(kernel_of_a_new_layer())
    assert np.array_equal(*kernels)
    assert not np.array_equal(kernels[0], kernel_of_a_new_layer())
