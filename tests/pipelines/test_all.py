"""Every recipe runs from images to scores, shrunk: few images, one epoch, random weights.

Of InceptionResNetV2's 40 blocks, alike but for their weights, the first and last of each kind are
there, and of InceptionV3's long kernels those that change the number of channels: TensorFlow would
trace the others for a minute.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from keras.src.applications import inception_resnet_v2, inception_v3
from PIL import Image

import pipelines.recipes
from pipelines.cli import main
from tests.transfer.images.test_cifar import cifar10_python, packed


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    return packed(tmp_path_factory.mktemp("cifar"), cifar10_python(), "tar.gz").data


@pytest.fixture(scope="module")
def dogs_and_horses(tmp_path_factory):
    """An unstructured folder as the starting point had it, brought into form by our command."""
    folder = tmp_path_factory.mktemp("animals")
    flat, photos = folder / "flat", folder / "photos"
    flat.mkdir()
    rng = np.random.default_rng(0)
    for name in ("dog", "horse"):
        for number in range(20):
            pixels = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(flat / f"{name}.{number}.jpg")
    structure = ["structure", "--source", str(flat), "--target", str(photos), "--apply"]
    assert main(structure) == 0
    return str(photos)


FEW = ["--limit-per-class", "6"]
SHRUNK = {
    "cifar10-mobilenetv2": ["--image-size", "32", "--alpha", "0.35", "--weights", "none"],
    "cifar10-inceptionv3": ["--image-size", "75", "--weights", "none", *FEW],
    "cifar10-inceptionresnetv2": ["--image-size", "75", "--weights", "none", *FEW],
    "dogs-vs-horses-inceptionv3-mixed7": ["--image-size", "75", "--weights", "none"],
    "demo": ["--image-size", "32", "--limit-per-class", "12"],
}


@pytest.fixture
def fewer_layers(monkeypatch):
    block, convolve = inception_resnet_v2.inception_resnet_block, inception_v3.conv2d_bn

    def first_or_last(x, scale, block_type, block_idx, **options):
        if 1 < block_idx < {"block35": 10, "block17": 20, "block8": 10}[block_type]:
            return x
        return block(x, scale, block_type, block_idx, **options)

    def short_or_between_widths(x, filters, num_row, num_col, **options):
        if {num_row, num_col} == {1, 7} and x.shape[-1] == filters:
            return x
        return convolve(x, filters, num_row, num_col, **options)

    monkeypatch.setattr(inception_resnet_v2, "inception_resnet_block", first_or_last)
    monkeypatch.setattr(inception_v3, "conv2d_bn", short_or_between_widths)


def shrink(recipe):
    """One epoch, and fine-tuning in small steps, which random weights survive, few images each."""
    recipe = re.sub(r"(?m)^epochs = \d+", "epochs = 1", recipe)
    recipe, tuning = recipe.split("[finetune]\n")
    tuning = re.sub(r"(?m)^batch_size = .*\n", "", tuning)
    rate = "" if "learning_rate" in tuning else "learning_rate = 1e-6\n"
    return f"{recipe}[finetune]\nbatch_size = 4\n{rate}{tuning}"


@pytest.mark.parametrize("recipe", SHRUNK)
def test_recipe_runs(recipe, tmp_path, request, capsys, fewer_layers):
    data = []
    if recipe != "demo":
        fixture = "cifar" if recipe.startswith("cifar10") else "dogs_and_horses"
        data = ["--data", request.getfixturevalue(fixture)]
    shrunk = tmp_path / f"{recipe}.toml"
    shrunk.write_text(
        shrink((Path(pipelines.recipes.__file__).parent / f"{recipe}.toml").read_text())
    )
    arguments = ["--recipe", str(shrunk), *data, *SHRUNK[recipe], "--artifacts", str(tmp_path)]
    assert main(["all", *arguments]) == 0
    assert "What each stage did" in capsys.readouterr().out
    folder = tmp_path / "runs" / recipe
    (evaluation,) = folder.glob("evaluation-*.json")
    models = json.loads(evaluation.read_text())["models"]
    tuned = json.loads((folder / "finetune.json").read_text())["share"] > 0
    assert set(models) == ({"head", "finetuned"} if tuned else {"head"})
    for name, scores in models.items():
        assert scores["num_images"] == np.sum(scores["confusion"]) > 0
        assert (folder / f"architecture-{name}.png").exists()
    assert (folder / "finetuned.keras").exists() == tuned
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert all(f"<h3>{name}: " in page for name in models)
