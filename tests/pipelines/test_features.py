"""Features: a file that anybody can open, made once, of sound images alone."""

import csv
import json
import subprocess
import sys
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
from PIL import Image

from cache import FeatureFile
from pipelines.cli import main
from pipelines.features import ids_of
from tests.pipelines.small_runs import SMALL, options, photographs, refused


def test_features_are_a_file_that_a_person_can_open(trained, place):
    (path,) = (place / "artifacts" / "features").glob("*/features.h5")
    with h5py.File(path) as file:
        assert set(file) == {
            *("features", "checksums", "parts", "labels", "ids", "given_split", "class_names"),
            *("image_digests", "skipped_ids", "skipped_reasons"),
        }
        assert sorted(file["ids"].asstr()) == sorted(
            f"{name}/{number:03d}.png" for name in ("cat", "dog") for number in range(24)
        )
        assert file["class_names"].asstr()[...].tolist() == ["cat", "dog"]
        assert set(file["given_split"].asstr()) == {"train"}  # no folders for the others
        assert json.loads(file.attrs["spec"])["backbone"] == "MobileNetV2"


def test_ids_in_little_memory_are_the_ids(trained, place):
    (path,) = (place / "artifacts" / "features").glob("*/features.h5")
    with FeatureFile(path) as features:
        assert ids_of(features).tolist() == features.ids.tolist()


def test_a_second_run_is_a_hit_without_keras(trained, place):
    program = (
        "import sys; from pipelines.cli import main; code = main(sys.argv[1:]); "
        "print(code, {'keras', 'tensorflow', 'sklearn'} & set(sys.modules))"
    )
    arguments = [sys.executable, "-c", program, "features", *options(place)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert "48 images" in done.stdout
    assert "cached in" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 set()"


def test_a_pipe_gets_no_progress_bar(trained, place):
    command = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "features",
        *options(place),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert [line[:21] for line in done.stdout.splitlines()] == [
        "features: goes on wit",
        "features: 48 images x",
    ]


def test_what_is_left_out_is_said_once_where_features_are_there(trained, place, capsys):
    others = [place / "photos" / name for name in ("notes.txt", "cat/._000.png", "cat/raw.cr2")]
    for path in others:
        path.write_text("")
    try:
        assert main(["features", *options(place)]) == 0
    finally:
        for path in others:
            path.unlink()
    said = capsys.readouterr().out
    assert said.count("left out") == 1
    assert "features: left out 1 .cr2, 1 .txt, 1 hidden file\n" in said
    assert "cached in" in said


def test_archives_give_what_their_folder_gives(place, tmp_path, capsys):
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((place / "photos").rglob("*.png")):
            file.write(path, path.relative_to(place))
        file.writestr("photos/notes.txt", "")
    with tarfile.open(tmp_path / "photos.tar.xz", "w:xz") as file:
        file.add(place / "photos", "photos")
    features = {}
    for data in (place / "photos", archive, tmp_path / "photos.tar.xz"):
        store = tmp_path / f"store-{data.name}"
        assert main(["features", "--data", str(data), "--artifacts", str(store), *SMALL]) == 0
        said = capsys.readouterr().out
        assert said.count("features: left out 1 .txt\n") == (data == archive) == said.count("left")
        (path,) = store.glob("features/*/features.h5")
        with h5py.File(path) as file:
            cut = file["features/block_2_add"]
            rows = dict(zip(file["ids"].asstr()[...], cut[...], strict=True))
            features[data.name] = [rows[id] for id in sorted(rows)]
    for other in ("photos.zip", "photos.tar.xz"):
        np.testing.assert_allclose(features[other], features["photos"], atol=1e-5)


def test_bad_images_stop_the_run_or_are_set_aside(tmp_path, capsys):
    data = photographs(tmp_path / "photos", count=12)
    (data / "cat" / "broken.jpg").write_bytes(b"no image")
    whole = (data / "dog" / "000.png").read_bytes()
    (data / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    arguments = ["features", "--data", str(data), "--artifacts", str(tmp_path / "a"), *SMALL]
    arguments += ["--run", "mine", "--val-fraction", "0.3"]
    said = refused(capsys, *arguments)
    assert "received 2 files" in said
    assert "cat/broken.jpg: no JPEG" in said
    assert "dog/cut.png: " in said
    assert main([*arguments, "--bad-images", "skip"]) == 0
    assert "24 images x" in (out := capsys.readouterr().out)
    assert "2 bad images set aside" in out
    listed = tmp_path / "a" / "runs" / "mine" / "bad-images.csv"
    assert f"see {listed}" in out
    assert listed_ids(listed) == ["cat/broken.jpg", "dog/cut.png"]
    listed.unlink()
    assert main([*arguments, "--bad-images", "skip"]) == 0  # a hit lists them as well
    assert listed_ids(listed) == ["cat/broken.jpg", "dog/cut.png"]


def listed_ids(path):
    with path.open(newline="") as file:
        return [row["id"] for row in csv.DictReader(file)]


def test_a_list_of_bad_images_goes_when_they_are_mended(tmp_path, capsys):
    data = photographs(tmp_path / "photos", count=12)
    whole = (data / "dog" / "000.png").read_bytes()
    (data / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])  # its head is whole
    arguments = ["features", "--data", str(data), "--artifacts", str(tmp_path / "a"), *SMALL]
    arguments += ["--run", "mine", "--val-fraction", "0.3"]
    listed = tmp_path / "a" / "runs" / "mine" / "bad-images.csv"
    said = refused(capsys, *arguments)
    assert f"received 1 file that cannot be decoded (listed in {listed})" in said
    assert listed_ids(listed) == ["dog/cut.png"]
    (data / "dog" / "cut.png").unlink()
    assert main(arguments) == 0
    assert not listed.exists()


@pytest.mark.parametrize(
    ("folders", "words"),
    [({"cat": 2}, "one class"), ({"cat": 2, "dog": 0}, "no images"), ({"": 2}, "structure")],
)
def test_folders_that_cannot_be_learned_from(folders, words, tmp_path, capsys):
    for name, count in folders.items():
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.new("RGB", (8, 8)).save(tmp_path / "data" / name / f"{number}.png")
    said = refused(capsys, "features", "--data", str(tmp_path / "data"), *SMALL)
    assert words in said
    assert len(said.strip().splitlines()) == 1


def test_a_feature_that_float16_cannot_hold_names_the_image(place, capsys, monkeypatch):
    from transfer.extraction.keras_engine import KerasEngine

    run = KerasEngine.run

    def larger(self, batches):
        for batch, outputs in run(self, batches):
            yield batch, [output * 1e9 for output in outputs]

    monkeypatch.setattr(KerasEngine, "run", larger)
    words = options(place, "--storage", "float16", "--image-size", "40")
    said = refused(capsys, "features", *words)
    assert "of image 'cat/000.png' reach" in said and "--storage float32" in said
