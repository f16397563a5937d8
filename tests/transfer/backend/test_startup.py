"""Settings of Keras that other programs, or a notebook, have changed."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from transfer.backbones.building import build_backbone
from transfer.backbones.options import BackboneOptions
from transfer.backend.startup import check_settings, import_keras
from transfer.errors import InputError
from transfer.heads.bank import Design, HeadBank
from transfer.heads.building import build_head
from transfer.heads.options import FitOptions, HeadOptions

OTHERS = {
    "floatx": "float16",
    "image_data_format": "channels_first",
    "epsilon": 1e-3,
    "max_epochs": 1,
    "max_steps_per_epoch": 1,
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_notebook_has_set_is_refused_in_a_line(name):
    if not hasattr(keras.config, name):
        pytest.skip("this Keras has no such setting")
    before, change = getattr(keras.config, name)(), getattr(keras.config, f"set_{name}")
    statistics = np.zeros(3), np.ones(3), (3,), 2
    change(OTHERS[name])
    try:
        for build in (
            check_settings,
            import_keras,
            lambda: build_backbone(BackboneOptions(weights="none")),
            lambda: build_head(HeadOptions(), *statistics),
            lambda: HeadBank([Design(HeadOptions(), FitOptions())], *statistics),
        ):
            with pytest.raises(InputError, match=rf"keras\.config\.{name}\(\) to be") as refused:
                build()
            assert f"received {OTHERS[name]!r}; call keras.config.set_{name}(" in str(refused.value)
    finally:
        change(before)
    check_settings()


def test_stages_refuse_another_policy():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with pytest.raises(InputError, match="policy float32, received 'mixed_bfloat16'"):
            import_keras()
        check_settings()  # a library's heads may have it
    finally:
        keras.config.set_dtype_policy("float32")


def test_what_other_programs_left_behind_is_not_taken(monkeypatch):
    """As where `keras.json` says so: Keras has these settings from the moment it is imported."""
    before = {name: getattr(keras.config, name)() for name in OTHERS}
    for name, value in OTHERS.items():
        getattr(keras.config, f"set_{name}")(value)
    keras.config.set_dtype_policy("float16")
    monkeypatch.delitem(sys.modules, "keras")
    try:
        import_keras()
        found = {name: getattr(keras.config, name)() for name in OTHERS}
        layer = keras.layers.Conv2D(5, 1)
        layer.build((None, 4, 6, 3))
        assert keras.Input((2,)).dtype == layer.kernel.dtype == "float32"
        assert layer.kernel.shape == (1, 1, 3, 5)
    finally:
        for name, value in before.items():
            getattr(keras.config, f"set_{name}")(value)
        keras.config.set_dtype_policy("float32")
    assert found == before


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="for TensorFlow alone")
def test_tensorflow_takes_its_share_and_leaves_those_of_workers_to_them():
    program = """
import os
from transfer.backend.startup import import_keras
import_keras()
import tensorflow
print(tensorflow.config.threading.get_intra_op_parallelism_threads())
print({name for name in os.environ if name.startswith("TF_NUM")})
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"OMP_NUM_THREADS": "3"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.stdout.splitlines() == ["3", "set()"], done.stderr
