"""The notebook's way: features in memory, and the README's example."""

import re
from pathlib import Path

import numpy as np
import pytest

import transfer

README = Path(__file__).parents[1] / "README.md"


def test_every_public_name_is_there():
    for name in transfer.__all__:
        assert getattr(transfer, name).__doc__, name
    with pytest.raises(AttributeError, match="nothing"):
        transfer.nothing  # noqa: B018


def test_the_example_in_the_readme_runs():
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["scores"].accuracy > 0.9
    assert names["fitted"].best["val_accuracy"] > 0.9


def test_a_bad_image_is_named():
    class Files:
        sequential = False

        def readers(self, members):
            for _ in members:
                yield lambda: b"no image"

    images = transfer.ImageSet(
        ids=np.array(["a.jpg"], object),
        labels=np.zeros(1, np.int64),
        class_names=("a", "b"),
        split=np.array(["train"]),
        source=Files(),
        members=np.arange(1),
    )
    options = transfer.BackboneOptions("MobileNetV2", "none", alpha=0.35, image_size=32)
    with pytest.raises(transfer.InputError, match=r"a\.jpg"):
        transfer.extract(images, options)
