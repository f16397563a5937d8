"""Images that are none stop a run before a backbone is built, whatever holds them."""

import csv
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest

from pipelines import bad_images
from pipelines.bad_images import keep_list
from pipelines.extracting import extraction, listing
from tests.pipelines.small_runs import SMALL, photographs, refused
from transfer.images.file_names import FORMATS

BAD = ["cat/003.png", "dog/011.png"]


@pytest.fixture
def data(tmp_path):
    """Photographs of which two have heads of none."""
    folder = photographs(tmp_path / "photos", count=12)
    (folder / BAD[0]).write_bytes(b"no image")
    (folder / BAD[1]).write_bytes(b"")
    return folder


@pytest.fixture(autouse=True)
def no_backbone(monkeypatch):
    def too_far(*_, **__):
        raise AssertionError("a backbone is built")

    monkeypatch.setattr(extraction, "Extractor", too_far)


def arguments(data, *more):
    place = data.parent / "artifacts"
    return ["features", "--data", str(data), "--artifacts", str(place), "--run", "r", *SMALL, *more]


def listed(data):
    with (data.parent / "artifacts" / "runs" / "r" / "bad-images.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def packed(folder, kind):
    path = folder.with_name(f"photos.{kind}")
    files = sorted(folder.rglob("*.png"))
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                archive.write(file, file.relative_to(folder))
    else:
        with tarfile.open(path, "w:gz" if kind.endswith("gz") else "w") as archive:
            for file in files:
                archive.add(file, file.relative_to(folder))
    return path


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz"])
def test_all_are_listed_before_a_backbone_is_built(kind, data, capsys):
    said = refused(capsys, *arguments(data if kind == "folder" else packed(data, kind)))
    assert "received 2 files that cannot be decoded" in said
    assert said.splitlines()[1:] == [
        f"  {BAD[0]}: no {FORMATS} image",
        f"  {BAD[1]}: empty file",
    ]
    assert [row["id"] for row in listed(data)] == BAD
    assert listed(data)[1]["reason"] == "empty file"


def test_keras_is_not_imported(data):
    program = (
        "import sys; from pipelines.cli import main; code = main(sys.argv[1:]); "
        "print(code, {'keras', 'tensorflow', 'sklearn', 'joblib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments(data)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "received 2 files" in done.stderr
    assert done.stdout.splitlines()[-1] == "2 set()"


def test_damage_behind_heads_is_listed_with_them_where_images_are_few(data, capsys, monkeypatch):
    whole = (data / "cat" / "000.png").read_bytes()
    (data / "cat" / "000.png").write_bytes(whole[: len(whole) // 2])
    assert "received 3 files that cannot be decoded (" in refused(capsys, *arguments(data))
    monkeypatch.setattr(bad_images, "FEW", 23)
    said = refused(capsys, *arguments(data))
    assert "received 2 files that are no images by their first bytes (" in said
    assert [row["id"] for row in listed(data)] == BAD


def test_without_bad_heads_or_with_skip_a_backbone_is_built(data):
    with pytest.raises(AssertionError, match="a backbone is built"):
        refused(None, *arguments(data, "--bad-images", "skip"))
    for bad in BAD:
        (data / bad).unlink()
    with pytest.raises(AssertionError, match="a backbone is built"):
        refused(None, *arguments(data))


def test_images_in_the_store_are_not_looked_at_again(data, monkeypatch):
    from pipelines.setup import Setup
    from transfer.images.sources import DataOptions

    setup = Setup(data=DataOptions(str(data)), artifacts=data.parent / "artifacts")
    stored = np.ones(len(listing.list_images(setup).digests), bool)
    monkeypatch.setattr(listing, "are_stored", lambda *_: stored)
    looked = []
    monkeypatch.setattr(listing, "check_heads", lambda images, **_: looked.extend(images.ids))
    listing.list_sound_images(setup, setup.spec())
    assert looked == []
    stored[1:] = False
    listing.list_sound_images(setup, setup.spec())
    assert len(looked) == 23


def test_a_list_is_whole_and_says_what_is_so(tmp_path):
    folder = tmp_path / "run"
    path = keep_list(folder, [])
    assert not folder.exists()
    bad = [('a "b", c.jpg', "no image"), ("ü\n.png", "empty file")]
    assert keep_list(folder, bad) == path
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["id", "reason"], *map(list, bad)]
    before = path.stat()
    keep_list(folder, bad)
    assert path.stat() == before  # a folder only for reading will do
    keep_list(folder, [])
    assert not path.exists()


def test_predictions_stop_before_keras_as_well(data, capsys, monkeypatch):
    from pipelines import classifiers

    def too_far():
        raise AssertionError("Keras is imported")

    monkeypatch.setattr(classifiers, "import_keras", too_far)
    said = refused(capsys, "predict", "--images", str(data), "--model", str(data / "none.keras"))
    assert "received 2 files that cannot be decoded; mend" in said
