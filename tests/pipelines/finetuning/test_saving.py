"""What is saved: weights as far along the way as was chosen, and calibrated; or nothing."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import softmax

from pipelines.finetuning.saving import save
from pipelines.knowing import read_knowledge
from pipelines.out_of_fold import read_out_of_fold
from tests.transfer.finetuning.small_classifier import image_set, seeded_classifier, tuner_of
from transfer.classifier import ClassifierCard, body_with_features, load_classifier, read_members
from transfer.finetuning.interpolation import Step
from transfer.finetuning.options import FinetuneOptions
from transfer.knowing.knowledge import directions_of

CARD = ClassifierCard(("red", "blue"), "MobileNetV2", (32, 32), ("top",), "avg")
IMAGES = image_set(size=32)
PIXELS = IMAGES.source[:6]


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_weights_lie_on_the_way_and_logits_are_divided(tmp_path, share):
    model, other = seeded_classifier(), seeded_classifier()
    tuner, by_hand = (tuner_of(one, "all", FinetuneOptions()) for one in (model, other))
    rng = np.random.default_rng(0)
    move = [rng.normal(0, 0.05, value.shape).astype(np.float32) for value in tuner.start]
    step = Step(share, np.zeros(1), np.zeros(1), temperature=2.5)
    after = np.full((12, 2), 0.5)
    rows, folds = np.arange(24, 36), np.zeros(12, int)
    judged = SimpleNamespace(chosen=step, move=move, rows=rows, folds=folds, after=after)
    trainings = SimpleNamespace(tuner=tuner, learned=np.arange(24))
    save(tmp_path, model, CARD, trainings, judged, {"head_id": "ab"}, IMAGES)
    saved, card = load_classifier(tmp_path / "finetuned.keras")
    by_hand.set_weights([a + share * b for a, b in zip(by_hand.start, move, strict=True)])
    expected = softmax(np.log(other(PIXELS, training=False)) / 2.5, axis=1)
    np.testing.assert_allclose(saved(PIXELS, training=False), expected, atol=1e-5)
    assert card == replace(CARD, temperature=2.5)
    said = read_out_of_fold(tmp_path / "finetuned.keras")
    assert said.ids.tolist() == IMAGES.ids[24:].tolist()
    np.testing.assert_array_equal(said.probabilities, after)
    assert read_members(tmp_path / "finetuned.keras", "finetune.json")
    known = read_knowledge(tmp_path / "finetuned.keras")
    assert known.ids.tolist() == IMAGES.ids[:24].tolist()
    seen = body_with_features(saved, CARD)(IMAGES.source[:24].astype(np.float32), training=False)[1]
    np.testing.assert_allclose(known.directions, directions_of(np.asarray(seen)), atol=1e-3)


def test_nothing_is_saved_where_nothing_is_moved(tmp_path):
    (tmp_path / "finetuned.keras").write_text("of an earlier time")
    judged = SimpleNamespace(chosen=Step(0.0, np.zeros(1), np.zeros(1)))
    save(tmp_path, None, CARD, None, judged, {"share": 0.0}, IMAGES)
    assert {path.name for path in tmp_path.iterdir()} == {"finetune.json"}
