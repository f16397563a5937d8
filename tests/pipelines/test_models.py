"""A run's models belong together, whatever is interrupted while they are saved."""

import contextlib
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from pipelines.cli import main
from pipelines.heads import saving
from pipelines.models import load_head, read_finetuned, read_head
from pipelines.setup import Setup
from tests.pipelines.small_runs import options
from transfer.classifier import ClassifierCard, load_classifier, read_members, save_classifier
from transfer.errors import InputError
from transfer.heads.fitting import Fitted
from transfer.images.sources import DataOptions

CARD = ClassifierCard(("cat", "dog"), "MobileNetV2", (32, 32), ("top",), "avg")
FEATURES = SimpleNamespace(key="key", cuts=("top",), class_names=("cat", "dog"))


def model_of(value):
    """A model whose only weight says which one it is."""
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(inputs))
    model.set_weights([np.full((1, 1), value, np.float32)])
    return model


@pytest.fixture
def save(tmp_path, monkeypatch):
    """Saves a head as the stage does, but for the backbone and the picture."""

    def export(setup, features, new, head, path, members):
        save_classifier(head, CARD, path, members)

    monkeypatch.setattr(saving, "export", export)
    monkeypatch.setattr(saving, "_knowledge", lambda *_: None)
    monkeypatch.setattr("transfer.pictures.curves.plot_history", lambda *_, **__: None)
    history = {name: [1.0] for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
    setup = Setup(DataOptions("digits"), artifacts=tmp_path, run="run")

    def save(value):
        scores = SimpleNamespace(accuracy=value, loss=value)
        fitted = Fitted(history, 0, "val_accuracy")
        model = model_of(value)
        # Fitted to the training images alone, and what was said of others: as of a chosen head.
        out_of_fold = saving.OutOfFold(
            np.array(["a", "b"], object), np.array([0, 1]), np.array([0, 1]), np.eye(2) * value
        )
        new = saving.NewHead(
            model, ("top",), scores, {}, 0.0, model, fitted, out_of_fold=out_of_fold
        )
        return saving.save(setup, FEATURES, new)

    return save


@pytest.fixture
def run(tmp_path):
    return tmp_path / "runs" / "run"


def value_of(run):
    """Which head a run has: score, head and classifier must be of the same."""
    result, head = load_head(run)
    classifier, _ = load_classifier(run / "classifier.keras")
    found = {result["val_accuracy"], *(m.get_weights()[0].item() for m in (head, classifier))}
    (value,) = found
    return value


def test_a_head_is_read_from_its_classifier_alone(save, run):
    result = save(0.5)
    assert json.loads((run / "head.json").read_text()) == read_head(run)
    assert read_head(run)["id"] == result["id"]
    assert keras.models.load_model(run / "head.keras").get_weights()[0] == 0.5
    for loose in ("head.json", "head.keras"):
        (run / loose).unlink()
    assert value_of(run) == 0.5
    assert save(0.5)["id"] != result["id"]  # even where all else is the same


WRITING = (
    *((Path, name) for name in ("replace", "unlink", "write_text", "write_bytes", "mkdir", "open")),
    (zipfile.ZipFile, "writestr"),
    (keras.Model, "save"),
)


def interrupt(monkeypatch, at):
    """Raises what Ctrl-C raises before the file operation of that number; returns the count."""
    done = []

    def counted(of, name):
        original = getattr(of, name)

        def operate(*args, **kwargs):
            done.append(name)
            if len(done) == at:
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        monkeypatch.setattr(of, name, operate)

    for of, name in WRITING:
        counted(of, name)
    return done


def test_interrupted_at_any_step_the_old_head_or_the_new_one_is_whole(save, run):
    save(0.0)
    found, step = [], 0
    while True:
        step += 1
        with pytest.MonkeyPatch.context() as patched:
            done = interrupt(patched, step)
            with contextlib.suppress(KeyboardInterrupt):
                save(float(step))
        found.append(value_of(run))
        assert found[-1] in (*found[-2:-1], 0.0, float(step))
        if len(done) < step:
            break
    assert step > 15
    assert found[-1] == step  # nothing was interrupted
    new = [number for number, value in enumerate(found, start=1) if value == number]
    assert new == list(range(new[0], step + 1))  # up to the renaming the old one, then the new
    assert set(found[: new[0] - 1]) == {0.0}
    assert not list(run.glob(".writing*"))
    assert json.loads((run / "head.json").read_text()) == read_head(run)


def test_a_fine_tuned_model_is_of_one_head_alone(save, run, capsys):
    first = save(0.25)
    capsys.readouterr()
    assert read_finetuned(run, first, "predict") is None
    assert not capsys.readouterr().out  # there is none
    result = {"head_id": first["id"], "after": {}}
    members = {"finetune.json": json.dumps(result).encode()}
    save_classifier(model_of(0.3), CARD, run / "finetuned.keras", members)
    assert read_finetuned(run, first, "predict") == result
    second = save(0.25)
    capsys.readouterr()
    assert read_finetuned(run, second, "predict") is None
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"predict: {run / 'finetuned.keras'} belongs to an older head")
    save_classifier(model_of(0.3), CARD, run / "finetuned.keras")  # as before this was written
    assert read_finetuned(run, second, "evaluate") is None


def test_where_there_is_no_head_it_is_said_how_to_train_one(tmp_path):
    with pytest.raises(InputError, match="train one with `transfer head`"):
        read_head(tmp_path)
    save_classifier(model_of(1.0), CARD, tmp_path / "classifier.keras")
    with pytest.raises(InputError, match=r"no head.json and head.keras inside"):
        load_head(tmp_path)
    assert read_members(tmp_path / "classifier.keras", "classifier.json")


def test_a_new_head_leaves_the_fine_tuned_model_of_the_old_one(trained, place, capsys):
    members = {"finetune.json": json.dumps({"head_id": read_head(trained)["id"]}).encode()}
    classifier, card = load_classifier(trained / "classifier.keras")
    save_classifier(classifier, card, trained / "finetuned.keras", members)
    assert main(["head", *options(place, "--epochs", "1")]) == 0
    capsys.readouterr()
    assert main(["evaluate", *options(place, "--no-pictures")]) == 0
    assert "belongs to an older head" in capsys.readouterr().out
    assert set(json.loads((trained / "evaluation-test.json").read_text())["models"]) == {"head"}
    assert main(["predict", *options(place, "--images", str(place / "photos" / "cat"))]) == 0
    assert "belongs to an older head" in capsys.readouterr().out
