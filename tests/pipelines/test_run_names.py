"""Names of runs: of data, backbone, and enough of the path that two runs do not meet."""

import re
from pathlib import Path

import pytest

from pipelines.run_names import default_name
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
