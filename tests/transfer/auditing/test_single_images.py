"""What is odd about an image among others: its pixels, its place, its label."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from transfer.auditing.class_confusion import classes_alike
from transfer.auditing.image_quality import faults_of, look_at
from transfer.auditing.neighbours import nearest
from transfer.auditing.outliers import UNLIKE, outlyingness
from transfer.auditing.robust import deviations
from transfer.auditing.suspect_labels import suspect_labels
from transfer.knowing.knowledge import directions_of


def picture(seed, size=(160, 120)):
    """Details of all sizes, as photographs have them."""
    rng = np.random.default_rng(seed)
    scales = [
        Image.fromarray(rng.integers(0, 256, (side, side)).astype(np.uint8)).resize(size)
        for side in (4, 12, 40, 120)
    ]
    return Image.fromarray(np.mean([np.asarray(one) for one in scales], axis=0).astype(np.uint8))


def faults(*odd):
    """By kind the rows of odd pictures, counted from the first of them."""
    pictures = [picture(seed) for seed in range(40)]
    sizes = np.array([one.size[::-1] for one in (*pictures, *odd)])
    found = faults_of([look_at(one.copy()) for one in (*pictures, *odd)], sizes)
    return {kind: (rows - 40).tolist() for kind, (rows, _) in found.items() if len(rows)}


def test_pictures_as_usual_have_no_fault():
    assert faults() == {}


def test_faults_are_told_apart():
    seen = picture(99)
    odd = [
        Image.new("L", (160, 120), 90),
        seen.point(lambda level: level // 8),
        seen.point(lambda level: 225 + level // 9),
        seen.filter(ImageFilter.GaussianBlur(4)),
        seen.resize((40, 30)),
        picture(98, (500, 120)),
    ]
    expected = ["blank", "dark", "bright", "blurred", "tiny", "odd size"]
    assert faults(*odd) == {kind: [number] for number, kind in enumerate(expected)}


def test_a_folder_of_dark_pictures_is_one_of_dark_pictures():
    dark = [look_at(picture(seed).point(lambda level: level // 8)) for seed in range(20)]
    found = faults_of(dark, np.full((20, 2), 30))
    assert not any(len(rows) for rows, _ in found.values())


def test_deviations_are_from_the_median():
    assert deviations(np.array([1.0, 2, 3, 4, 100]))[2] == 0
    assert deviations(np.array([1.0, 2, 3, 4, 100]))[4] > 50
    assert deviations(np.array([5.0, 5, 5, 6])).tolist() == [0, 0, 0, np.inf]


def test_what_is_far_from_all_is_unlike_them():
    rng = np.random.default_rng(0)
    features = np.abs(rng.normal(size=(100, 8))) + np.repeat([5, 0], 4)
    features[17] = [0, 0, 0, 0, 9, 9, 9, 9]
    unusual = outlyingness(nearest(directions_of(features)))
    assert unusual.argmax() == 17 and unusual[17] > UNLIKE
    assert (np.delete(unusual, 17) > UNLIKE).mean() < 0.05


def test_classes_of_the_same_pictures_are_mixed_and_others_not():
    rng = np.random.default_rng(0)
    centres = np.array([[9.0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9]])
    labels = np.repeat(np.arange(4), [60, 30, 40, 40])
    features = np.abs(centres[labels] + rng.normal(size=(170, 3)))
    (found,) = classes_alike(nearest(directions_of(features)), labels, 4)
    assert (found.one, found.other) == (0, 1)
    assert found.mixed == pytest.approx(1, abs=0.15)


def test_flipped_labels_are_suspect_and_the_surest_come_first():
    pytest.importorskip("cleanlab")
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    probabilities = np.eye(3)[truth] * 0.7 + rng.dirichlet([1, 1, 1], 400) * 0.3
    labels = truth.copy()
    flipped = rng.choice(400, 20, replace=False)
    labels[flipped] = (labels[flipped] + 1) % 3
    wide = np.zeros((400, 5))  # classes 1 and 3 have no image
    wide[:, [0, 2, 4]] = probabilities
    found = suspect_labels(2 * labels, wide)
    assert np.isin(found.rows, flipped).mean() > 0.95
    assert np.isin(flipped, found.rows).mean() > 0.5
    assert np.all(np.diff(found.doubt) <= 0)
    right = np.isin(found.rows, flipped)
    assert found.suggested[right].tolist() == (2 * truth[found.rows[right]]).tolist()
