"""The cache key as the stages fill it: what changes it, and what must not."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.run_names import default_name
from pipelines.setup import Setup
from transfer.backbones.options import BackboneOptions
from transfer.errors import InputError
from transfer.images.sources import DataOptions


@pytest.fixture
def setup(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for number in range(3):
            path = tmp_path / "photos" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)).save(path)
    (tmp_path / "weights.h5").write_bytes(b"weights")
    return Setup(
        DataOptions(str(tmp_path / "photos")),
        BackboneOptions("MobileNetV2", str(tmp_path / "weights.h5"), alpha=0.35, image_size=64),
        artifacts=tmp_path / "artifacts",
    )


CHANGES = {
    "limit": lambda s: replace(s, data=replace(s.data, limit_per_class=1)),
    "window": lambda s: replace(s, data=replace(s.data, window="0:4095")),
    "page": lambda s: replace(s, data=replace(s.data, page=2)),
    "bad images": lambda s: replace(s, data=replace(s.data, bad_images="skip")),
    "backbone": lambda s: replace(s, backbone=replace(s.backbone, backbone="MobileNet")),
    "alpha": lambda s: replace(s, backbone=replace(s.backbone, alpha=0.5)),
    "random weights": lambda s: replace(s, backbone=replace(s.backbone, weights="none")),
    "image size": lambda s: replace(s, backbone=replace(s.backbone, image_size=65)),
    "cut": lambda s: replace(s, backbone=replace(s.backbone, cut=("block_3_add",))),
    "blocks": lambda s: replace(s, backbone=replace(s.backbone, cut=("blocks",))),
    "precision": lambda s: replace(s, precision="bfloat16"),
    "storage": lambda s: replace(s, storage="float16"),
    "views": lambda s: replace(s, backbone=replace(s.backbone, views=("identity", "flip"))),
    "pooling": lambda s: replace(s, backbone=replace(s.backbone, pooling="max")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_changes_the_key(setup, change):
    if change == "blocks":  # the default today; top alone is something else
        setup = replace(setup, backbone=replace(setup.backbone, cut=("top",)))
    assert CHANGES[change](setup).spec().key != setup.spec().key


def test_who_rounds_counts_where_features_are_rounded(setup):
    pytest.importorskip("openvino")

    def key(engine, precision):
        return replace(setup, engine=engine, precision=precision).spec().key

    assert key("openvino", "float32") == key("keras", "float32")
    assert len({key("openvino", "bfloat16"), key("keras", "bfloat16"), key("auto", "float32")}) == 3


def test_seeds_count_for_random_weights_only(setup):
    def seeded(weights, seed):
        backbone = replace(setup.backbone, weights=weights, weights_seed=seed)
        return replace(setup, backbone=backbone).spec().key

    assert seeded("none", 0) != seeded("none", 1)
    assert seeded(setup.backbone.weights, 0) == seeded(setup.backbone.weights, 1)


def test_contents_change_the_key_and_places_do_not(setup, tmp_path):
    key = setup.spec().key
    assert replace(setup, extract_batch_size=7, run="other", recipe="mine.toml").spec().key == key
    assert replace(setup, artifacts=tmp_path / "elsewhere").spec().key == key
    shares = replace(setup.data, val_fraction=0.3, test_fraction=0.3, group="(.*)-")
    assert replace(setup, data=shares, memory_budget=1.0, rehash=True).spec().key == key
    moved = shutil.copytree(tmp_path / "photos", tmp_path / "deep" / "moved")
    shutil.copy(tmp_path / "weights.h5", tmp_path / "deep")
    elsewhere = replace(
        setup,
        data=replace(setup.data, data=str(moved)),
        backbone=replace(setup.backbone, weights=str(tmp_path / "deep" / "weights.h5")),
    )
    assert elsewhere.spec().key == key
    picture = moved / "cat" / "0.png"
    pixels = np.asarray(Image.open(picture)).copy()
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(picture)
    assert elsewhere.spec().key != key
    (tmp_path / "weights.h5").write_bytes(b"weighty")
    assert setup.spec().key != key


def test_the_run_folder_is_named_by_run_recipe_or_data(setup):
    runs = Path("artifacts") / "runs"
    setup = replace(setup, artifacts=Path("artifacts"))
    assert setup.run_folder == runs / default_name(setup.data, "MobileNetV2")
    assert replace(setup, recipe="my/mine.toml").run_folder == runs / "mine"
    assert replace(setup, recipe="demo", run="try 2").run_folder == runs / "try 2"


@pytest.mark.parametrize(
    "named", [{"run": "latest"}, {"run": "../x"}, {"run": ".."}, {"recipe": "my/latest.toml"}]
)
def test_what_is_no_name_of_a_folder_is_refused(setup, named):
    with pytest.raises(InputError, match="give another --run"):
        replace(setup, **named)


def test_paths_become_absolute_and_expressions_stay(setup, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for group, expected in (("a.csv", str(tmp_path / "a.csv")), (r"(\d+)", r"(\d+)"), (None, None)):
        one = replace(setup, data=DataOptions("photos", group=group)).with_absolute_paths()
        assert one.data.data == str(tmp_path / "photos")
        assert one.data.group == expected
