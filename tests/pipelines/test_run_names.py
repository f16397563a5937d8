"""Names of runs: of data, backbone, and enough of the path that two runs do not meet."""

import re
from pathlib import Path

import pytest

from pipelines.run_names import default_name
from pipelines.setup import Setup
from transfer.errors import InputError
from transfer.images.sources import DataOptions


def test_named_data_need_no_digits():
    for backbone in ("EfficientNetLite0", "efficientnet-lite0"):
        assert default_name(DataOptions("digits"), backbone) == "digits-efficientnetlite0"


def test_folders_of_one_name_are_two_runs(tmp_path, monkeypatch):
    names = [default_name(DataOptions(f"{tmp_path}/{one}/images"), "VGG16") for one in "xy"]
    assert all(re.fullmatch(r"images-vgg16-[0-9a-f]{4}", name) for name in names)
    assert len(set(names)) == 2
    assert names[0] != default_name(DataOptions(f"{tmp_path}/x/images"), "VGG19")
    # However the folder is named, it is one.
    (tmp_path / "x" / "images").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "x")
    monkeypatch.chdir(tmp_path / "x")
    for path in ("images", "./images/", "../x/images"):
        assert default_name(DataOptions(path), "VGG16") == names[0]
    assert default_name(DataOptions(str(tmp_path / "link" / "images")), "VGG16") == names[0]


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_an_archive_and_its_folder_are_two_runs(suffix):
    folder, archive = (default_name(DataOptions(f"photos{end}"), "VGG16") for end in ("", suffix))
    assert Path(archive).name.startswith("photos-vgg16-")
    assert folder != archive


def test_a_name_of_any_length_and_kind_makes_a_folder(tmp_path):
    for name in ("x" * 255, "日" * 85, "a\nb\x1b"):
        (tmp_path / name).mkdir()
        run = default_name(DataOptions(str(tmp_path / name)), "MobileNetV2")
        (tmp_path / run).mkdir()
        assert run.isprintable()
    with pytest.raises(InputError, match=r"--data expects a path in UTF-8, received .*caf\\\\xe9"):
        Setup(DataOptions("caf\udce9"), run="run")
    with pytest.raises(InputError, match="--group expects a path in UTF-8"):
        Setup(DataOptions("digits", group="caf\udce9.csv"), run="run")
