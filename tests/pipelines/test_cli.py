"""The command line as a user types it: real images, a small network, every stage in a row."""

import csv
import io
import json
import subprocess
import sys
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
from PIL import Image

from pipelines.cli import main
from pipelines.predict import default_model
from pipelines.results import write_json

SMALL = [
    *["--backbone", "MobileNetV2", "--alpha", "0.35", "--weights", "none", "--image-size", "32"],
    *["--cut", "block_1_depthwise_relu", "block_2_add"],
]


def photographs(folder, classes=("cat", "dog"), count=24):
    """Two kinds of pictures that any network tells apart: bright above, or bright below."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(classes):
        for number in range(count):
            pixels = rng.integers(0, 100, (20, 24, 3))
            half = slice(0, 10) if label == 0 else slice(10, 20)
            pixels[half] += 150
            path = folder / name / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with photographs in it, and where the stages have run."""
    folder = tmp_path_factory.mktemp("place")
    photographs(folder / "photos")
    return folder


def options(place, *more):
    return [
        *["--data", str(place / "photos"), "--val-fraction", "0.25", "--test-fraction", "0.25"],
        *["--artifacts", str(place / "artifacts"), "--run", "run", *SMALL, *more],
    ]


@pytest.fixture(scope="module")
def trained(place):
    assert main(["head", *options(place, "--hidden", "8", "--epochs", "15")]) == 0
    return place / "artifacts" / "runs" / "run"


def refused(capsys, *arguments):
    """Runs a command that must fail as a user's mistake does; returns what it says."""
    assert main(list(arguments)) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_head_leaves_everything_behind(trained):
    names = {path.name for path in trained.iterdir()}
    assert names >= {
        *["head.keras", "classifier.keras", "head.json", "head-history.csv", "head-history.png"]
    }
    result = json.loads((trained / "head.json").read_text())
    with (trained / "head-history.csv").open(newline="") as file:
        history = list(csv.DictReader(file))
    assert len(history) == result["epochs"]
    best = max(range(len(history)), key=lambda epoch: float(history[epoch]["val_accuracy"]))
    assert result["best_epoch"] == best + 1
    assert result["val_loss"] == pytest.approx(float(history[best]["val_loss"]), abs=1e-3)
    assert result["class_names"] == ["cat", "dog"]
    assert result["val_accuracy"] > 0.7


def test_saved_models_carry_no_optimizer(trained):
    for name in ("head.keras", "classifier.keras"):
        with zipfile.ZipFile(trained / name) as archive:
            assert not json.loads(archive.read("config.json"))["compile_config"]
            assert b"adam" not in archive.read("config.json").lower()
            weights = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
        paths = []
        weights.visit(paths.append)
        assert not [path for path in paths if "optimizer" in path]


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


def test_evaluate_scores_the_test_split(trained, place, capsys):
    assert main(["evaluate", *options(place)]) == 0
    assert "On the test split" in capsys.readouterr().out
    result = json.loads((trained / "evaluation-test.json").read_text())
    scores = result["models"]["head"]
    confusion = np.array(scores["confusion"])
    assert confusion.sum() == scores["num_images"]
    assert scores["accuracy"] == pytest.approx(np.trace(confusion) / confusion.sum())
    for picture in ("confusion-head.png", "architecture-head.png", "predictions-head.png"):
        assert (trained / picture).stat().st_size > 5000


def test_finetune_starts_where_the_head_is_and_is_evaluated_beside_it(trained, place, capsys):
    tuning = ["--unfreeze", "3", "--epochs", "2", "--batch-size", "8"]
    assert main(["finetune", *options(place, *tuning)]) == 0
    head = json.loads((trained / "head.json").read_text())
    result = json.loads((trained / "finetune.json").read_text())
    assert result["before"]["val_loss"] == pytest.approx(head["val_loss"], abs=1e-3)
    assert f"{head['val_accuracy']:.4f} from cached features" in capsys.readouterr().out
    assert not (trained / "finetune-checkpoints").exists()
    assert main(["evaluate", *options(place, "--split", "val", "--no-pictures")]) == 0
    scores = json.loads((trained / "evaluation-val.json").read_text())["models"]
    assert scores["finetuned"]["accuracy"] == pytest.approx(result["after"]["val_accuracy"])
    assert scores["finetuned"]["loss"] == pytest.approx(result["after"]["val_loss"], abs=1e-4)
    assert scores["head"]["loss"] == pytest.approx(head["val_loss"], abs=1e-4)


def test_predict_writes_what_the_model_says(trained, place, capsys):
    model = ["--model", str(trained / "classifier.keras")]
    images = ["--images", str(place / "photos" / "cat"), str(place / "photos" / "dog" / "00?.png")]
    for name in ("out.json", "out.csv"):
        assert main(["predict", *model, *images, "--top", "2", "--output", str(place / name)]) == 0
    predictions = json.loads((place / "out.json").read_text())
    assert len(predictions) == 24 + 10
    truth = ["cat"] * 24 + ["dog"] * 10
    right = [p["class"] == name for p, name in zip(predictions, truth, strict=True)]
    assert np.mean(right) > 0.7
    sums = [sum(entry["probability"] for entry in p["top"]) for p in predictions]
    np.testing.assert_allclose(sums, 1, atol=1e-5)
    with (place / "out.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["class_1"] for line in lines] == [p["class"] for p in predictions]
    capsys.readouterr()
    assert main(["predict", *model, "--images", predictions[0]["image"]]) == 0
    assert predictions[0]["class"] in capsys.readouterr().out


def test_a_refitted_head_keeps_its_honest_score_and_is_not_fine_tuned(place, capsys):
    arguments = options(place, "--epochs", "3")
    arguments[arguments.index("run")] = "refitted"
    scores = []
    for more in ([], ["--refit"]):
        assert main(["head", *arguments, *more]) == 0
        result = json.loads((place / "artifacts/runs/refitted/head.json").read_text())
        scores.append((result["val_accuracy"], pytest.approx(result["val_loss"], abs=1e-4)))
    assert scores[0] == scores[1]
    assert result["refitted"]
    assert "without --refit" in refused(capsys, "finetune", *arguments)


def test_spatial_features_and_a_sigmoid_head(place):
    arguments = ["head", *options(place, "--cut", "block_2_add", "--epochs", "3")]
    arguments[arguments.index("run")] = "spatial"
    assert main([*arguments, "--pooling", "none", "--output", "sigmoid", "--hidden", "4"]) == 0
    result = json.loads((place / "artifacts/runs/spatial/head.json").read_text())
    assert result["cuts"] == ["block_2_add"]


def test_archives_give_what_their_folder_gives(place, tmp_path):
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((place / "photos").rglob("*.png")):
            file.write(path, path.relative_to(place))
    with tarfile.open(tmp_path / "photos.tar.xz", "w:xz") as file:
        file.add(place / "photos", "photos")
    features = {}
    for data in (place / "photos", archive, tmp_path / "photos.tar.xz"):
        store = tmp_path / f"store-{data.name}"
        assert main(["features", "--data", str(data), "--artifacts", str(store), *SMALL]) == 0
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
    arguments += ["--val-fraction", "0.3"]
    said = refused(capsys, *arguments)
    assert "received 2 files" in said
    assert "cat/broken.jpg: no JPEG" in said
    assert "dog/cut.png: " in said
    assert main([*arguments, "--bad-images", "skip"]) == 0
    assert "24 images x" in (out := capsys.readouterr().out)
    assert "2 bad images set aside" in out
    (listed,) = (tmp_path / "a" / "features").glob("*/skipped.csv")
    with listed.open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["cat/broken.jpg", "dog/cut.png"]


def test_predict_names_files_that_are_no_images(trained, place, tmp_path, capsys):
    good = photographs(tmp_path, classes=("cat",), count=1) / "cat" / "000.png"
    (tmp_path / "cat" / "text.jpg").write_text("no image")
    arguments = ["predict", "--model", str(trained / "classifier.keras"), "--images"]
    assert "text.jpg" in refused(capsys, *arguments, str(good.parent))
    assert main([*arguments, str(good.parent), "--bad-images", "skip"]) == 0
    said = capsys.readouterr()
    assert "1 images" in said.out
    assert "text.jpg" in said.err
    only_text = str(tmp_path / "cat" / "text.jpg")
    assert "at least one image" in refused(capsys, *arguments, only_text, "--bad-images", "skip")
    assert "found none" in refused(capsys, *arguments, str(tmp_path / "*.webp"))


@pytest.mark.parametrize(
    ("after", "chosen"),
    [
        (None, "classifier.keras"),
        ((0.91, 0.4), "finetuned.keras"),
        ((0.9, 0.29), "finetuned.keras"),
        ((0.9, 0.3), "classifier.keras"),
        ((0.89, 0.1), "classifier.keras"),
    ],
)
def test_predict_takes_the_better_classifier(tmp_path, after, chosen):
    write_json(tmp_path / "head.json", {"val_accuracy": 0.9, "val_loss": 0.3})
    if after:
        scores = {"val_accuracy": after[0], "val_loss": after[1]}
        write_json(tmp_path / "finetune.json", {"after": scores})
    assert default_model(tmp_path) == tmp_path / chosen


def test_a_head_for_other_features_is_not_fine_tuned(trained, place, capsys):
    arguments = options(place, "--pooling", "max")
    assert "was trained on features" in refused(capsys, "finetune", *arguments)
    assert "was trained on features" in refused(capsys, "evaluate", *arguments)


def test_structure_says_what_it_would_do_before_it_does_it(tmp_path, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in photographs(tmp_path / "photos", count=3).rglob("*.png"):
        path.rename(flat / f"{path.parent.name}.{path.name}")
    arguments = ["structure", "--source", str(flat), "--target", str(tmp_path / "sorted")]
    assert main(arguments) == 0
    assert "would copy 6 files" in capsys.readouterr().out
    assert not (tmp_path / "sorted").exists()
    assert main([*arguments, "--apply"]) == 0
    assert len(list((tmp_path / "sorted" / "dog").iterdir())) == 3


DIGITS = ["--data", "digits", *SMALL]
MISTAKES = {
    "no such stage": (["nope"], "expected a stage"),
    "unknown option": (["features", "--nope", "1"], "--nope"),
    "a word for a number": (["head", "--epochs", "many"], "--epochs"),
    "an impossible number": (["head", "--epochs", "0"], "--epochs expects at least 1"),
    "a missing path": (["features", "--data", "/nowhere"], "/nowhere"),
    "no such backbone": (["features", "--backbone", "MobileNetV9"], "MobileNetV3"),
    "no such recipe": (["features", "--recipe", "nope"], "cifar10-mobilenetv2"),
    "an image too small": (
        ["features", "--data", "digits", "--backbone", "InceptionV3", "--image-size", "74"],
        "at least 75",
    ),
    "no such layer": (
        ["features", "--data", "digits", *SMALL, "--cut", "block_2_ad"],
        "block_2_add",
    ),
    "no such weights": (["features", "--data", "digits", "--weights", "/none.h5"], "/none.h5"),
    "a fraction too large": (["features", *DIGITS, "--val-fraction", "1"], "1"),
    "a head before features": (["evaluate", "--artifacts", "/nowhere"], "transfer head"),
    "predict without images": (["predict"], "--images"),
    "predict before head": (
        ["predict", "--images", __file__, "--artifacts", "/nowhere"],
        "/nowhere/runs/cifar10-mobilenetv2/classifier.keras",
    ),
    "structure without folders": (["structure"], "--source"),
    "no folder": (["features", *DIGITS, "--artifacts", "/dev/null/x"], "/dev/null/x"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line(mistake, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, words = MISTAKES[mistake]
    said = refused(capsys, *arguments)
    assert words in said
    assert len(said.strip().splitlines()) == 1


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


def test_help_comes_from_the_options(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert "finetune" in said
    assert "cifar10-inceptionv3" in said
    with pytest.raises(SystemExit) as stop:
        main(["head", "--recipe", "demo", "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "--label-smoothing" in said
    assert "EfficientNetLite0" in said  # the recipe's values show as defaults


def test_a_pipe_gets_no_progress_bar(place):
    command = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "features",
        *options(place, "--pooling", "max"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_a_terminal_gets_one(monkeypatch):
    from rich.console import Console

    from pipelines import progress

    shown = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda stderr: Console(file=shown, force_terminal=True, width=120)
    )
    with progress.progress("features", 200) as update:
        update(50, "note")
    assert "features" in shown.getvalue()
    assert "images/s" in shown.getvalue()


def test_other_shares_of_validation_need_no_other_features(trained, place, capsys):
    before = {path.name for path in (place / "artifacts" / "features").iterdir()}
    more = ["--val-fraction", "0.4", "--run", "shares"]
    assert main(["head", *options(place, *more, "--epochs", "2")]) == 0
    assert {path.name for path in (place / "artifacts" / "features").iterdir()} == before
    said = refused(capsys, "evaluate", *options(place, "--val-fraction", "0.3", "--run", "shares"))
    assert "trained with --val-fraction 0.4" in said


@pytest.mark.parametrize(
    "more",
    [
        ["--views", "identity,flip", "center"],
        ["--storage", "float16"],
        ["--memory-budget", "0.000001"],
        ["--views", "flip", "identity", "--storage", "float16", "--memory-budget", "0.000002"],
    ],
    ids=["views", "float16", "streamed", "all"],
)
def test_every_kind_of_features_ends_in_the_same_classifier(place, more, capsys):
    words = options(place, *more, "--run", "kind")
    assert main(["head", *words, "--epochs", "10", "--hidden", "8"]) == 0
    said = capsys.readouterr().out
    assert ("are streamed from the file" in said) == ("--memory-budget" in more)
    run = place / "artifacts" / "runs" / "kind"
    cached = json.loads((run / "head.json").read_text())
    assert cached["val_accuracy"] > 0.8
    # From pixels, all views averaged, the exported classifier must score what the head did.
    exported = ["--models", str(run / "classifier.keras"), "--split", "val", "--no-pictures"]
    assert main(["evaluate", *words, *exported]) == 0
    scores = json.loads((run / "evaluation-val.json").read_text())["models"]
    assert scores["head"]["loss"] == pytest.approx(cached["val_loss"], abs=1e-5)
    assert scores["classifier"]["loss"] == pytest.approx(cached["val_loss"], abs=5e-3)
    assert scores["classifier"]["accuracy"] == scores["head"]["accuracy"]


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
