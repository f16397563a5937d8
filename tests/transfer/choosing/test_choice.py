"""The choice: by images that the head has not seen, the simplest of the best, calibrated."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.transfer.choosing.problems import WIDTHS, rows
from transfer.choosing import narrowing
from transfer.choosing.averages import shares_of
from transfer.choosing.building import build_linear_head
from transfer.choosing.choice import choose, heads_of_folds
from transfer.choosing.paths import PENALTIES, Fitted, losses_of, lowest_number, penalty_at
from transfer.choosing.temperature import temperature_of, temperature_of_trained
from transfer.errors import InputError
from transfer.heads.transforms import transformed


def narrow(monkeypatch, most):
    """Has sets of more samples be large, and very large, if a number for that is given."""
    few, some = most if isinstance(most, tuple) else (most, most)
    monkeypatch.setattr(narrowing, "MOST_SAMPLES", few)
    monkeypatch.setattr(narrowing, "FEW_SAMPLES", few)
    monkeypatch.setattr(narrowing, "SOME_SAMPLES", some)
    if isinstance(most, tuple):
        monkeypatch.setattr(narrowing, "VERY_MANY", few)


def outputs(head, features):
    """What a linear head says of features, computed anew."""
    width = len(head.kernel)
    repeated = width // len(head.mean)
    mean, variance = np.tile(head.mean, repeated), np.tile(head.variance, repeated)
    standard = (transformed(features[:, -width:], head.transform) - mean) / np.sqrt(variance)
    return softmax(standard @ head.kernel + head.bias, axis=1)


@pytest.mark.parametrize("most", [1500, 100, (40, 30)])
@pytest.mark.parametrize("views", [1, 2])
def test_images_that_only_judge_teach_the_final_head_nothing(monkeypatch, most, views):
    narrow(monkeypatch, most)
    training = np.arange(120) % 4 > 0
    kept = {"images": 120, "training": training, "final": training, "holdout": True}
    chosen = choose(rows(**kept, views=views))
    np.testing.assert_array_equal(chosen.images, np.flatnonzero(~training))
    assert chosen.probabilities.shape == (30, 3)
    np.testing.assert_array_equal(chosen.final.kernel, chosen.training.kernel)


@pytest.mark.parametrize("most", [1500, 200, (200, 140)])
def test_it_learns_what_can_be_learned(monkeypatch, most):
    narrow(monkeypatch, most)
    data, fresh = rows(images=300, signal=1.5), rows(images=600, signal=1.5, seed=9)
    chosen = choose(data)
    exact = make_pipeline(StandardScaler(), LogisticRegressionCV(max_iter=1000))
    exact.fit(data.features, data.labels)
    ours = outputs(chosen.final, fresh.features)
    theirs = exact.predict_proba(fresh.features)
    truth = np.arange(600), fresh.labels
    error = np.sqrt(0.25 / 600)
    assert (ours.argmax(1) == fresh.labels).mean() > exact.score(
        fresh.features, fresh.labels
    ) - error
    assert -np.log(ours[truth]).mean() < -np.log(theirs[truth]).mean() + 0.02
    # What it says of itself is what it comes to on images that nothing was chosen by.
    assert chosen.chosen.loss == pytest.approx(-np.log(ours[truth]).mean(), abs=0.1)


def test_noise_is_called_noise():
    chosen = choose(rows(images=120, signal=0.0))
    assert chosen.chosen.loss == pytest.approx(np.log(3), abs=0.05)
    assert chosen.probabilities.max() < 0.7


def test_the_simplest_of_those_within_one_standard_error_is_taken():
    data = rows(images=300, signal=3.0)  # the top alone has all there is to know
    chosen = choose(data)
    best = chosen.judged[0]
    assert chosen.chosen.simplicity == min(
        head.simplicity for head in chosen.judged if head.is_as_good_as(best)
    )
    assert chosen.chosen.cuts == 1
    assert chosen.final.kernel.shape == (WIDTHS[-1], 3)
    losses = [head.loss for head in chosen.judged]
    assert losses == sorted(losses)


def test_both_heads_learn_from_what_they_may():
    data = rows(images=200)
    chosen = choose(data)
    assert not np.array_equal(chosen.training.kernel, chosen.final.kernel)
    same = choose(rows(images=200, training=np.ones(200, bool)))
    np.testing.assert_array_equal(same.training.kernel, same.final.kernel)


@pytest.mark.parametrize("most", [1500, 100, (40, 30)])
def test_classes_of_one_image_take_part(monkeypatch, most):
    narrow(monkeypatch, most)
    data = rows(images=120, classes=3)
    labels = data.labels.copy()
    labels[:5] = np.arange(3, 8)
    folds = data.folds.copy()
    folds[:5] = -1
    training = data.training.copy()
    training[:5] = True
    few = {"labels": labels, "num_classes": 8, "folds": folds, "training": training}
    chosen = choose(rows(images=120, **few))
    assert chosen.probabilities.shape == (115, 8)
    assert np.isfinite(chosen.final.kernel).all()


def test_features_with_positions_share_their_statistics():
    data = rows(widths=(20,), channels=4)
    chosen = choose(data).final
    assert chosen.mean.shape == chosen.variance.shape == (4,)
    expected = transformed(data.features, chosen.transform).reshape(-1, 4).mean(0)
    np.testing.assert_allclose(chosen.mean, expected, rtol=1e-4)


def test_not_finite_features_are_refused():
    features = rows().features.copy()
    features[3, 2] = np.nan
    with pytest.raises(InputError, match="NaN or infinity"):
        choose(rows(features=features))


def test_one_extreme_image_is_no_reason_for_certainty():
    """A feature that is zero in all images but one that comes later."""
    data = rows(images=300, signal=1.0)
    features = data.features.copy()
    features[:, 0] = 0
    features[0, 0] = 1e-3
    chosen = choose(rows(images=300, signal=1.0, features=features))
    spike = np.zeros((1, sum(WIDTHS)), np.float32)
    spike[0, 0] = 10 * features.std()
    assert outputs(chosen.final, spike).max() < 0.99


@pytest.mark.parametrize("scale", [1.0, 1e-12])  # the second as of random weights
@pytest.mark.parametrize("shape", [(20,), (1, 5, 4)])
def test_the_keras_head_says_what_was_chosen(shape, scale):
    kept = {"widths": (20,), "channels": 4} if len(shape) > 1 else {}
    data = rows(signal=0.2, images=200, **kept)
    data = replace(data, features=data.features * np.float32(scale))
    chosen = choose(data)
    width = len(chosen.final.kernel)
    model = build_linear_head(chosen.final, (width,) if len(shape) == 1 else shape)
    features = data.features[:, -width:].reshape(-1, *model.input_shape[1:])
    said = model.predict(features, verbose=0)
    np.testing.assert_allclose(said, outputs(chosen.final, data.features), atol=1e-5)


def test_shares_of_an_average_lower_the_loss():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    heads = [3 * np.eye(3)[labels][:, None] + rng.normal(size=(200, 1, 3)) * 3 for _ in range(4)]
    heads.append(rng.normal(size=(200, 1, 3)) * 9)  # knows nothing
    shares = shares_of(heads, labels)
    assert shares.sum() == pytest.approx(1)
    assert shares[-1] == 0
    mean = sum(share * head for share, head in zip(shares, heads, strict=True))
    assert losses_of(mean, labels).mean() < min(losses_of(head, labels).mean() for head in heads)


@pytest.mark.parametrize("found_of", [temperature_of, temperature_of_trained])
@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_temperature_undoes_a_factor(factor, found_of):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 1, 3)) * 2
    labels = np.array([rng.choice(3, p=row) for row in softmax(logits[:, 0], axis=1)])
    assert found_of(factor * logits, labels) == pytest.approx(factor, rel=0.08)


@pytest.mark.parametrize("images", [10, 60])
def test_images_that_are_all_right_make_no_head_certain(images):
    labels = np.arange(images) % 3
    logits = 9.0 * np.eye(3)[labels][:, None]
    surest = softmax(logits[0, 0] / temperature_of(logits, labels)).max()
    assert surest == pytest.approx((images + 1) / (images + 2), abs=1e-4)


def test_few_images_make_a_trained_head_no_surer():
    labels = np.arange(12) % 3
    right = np.eye(3)[labels][:, None]
    wrong = np.roll(labels, 1)
    assert temperature_of_trained(4 * right[:9], wrong[:9]) == 1.0  # too few to say anything
    assert temperature_of_trained(4 * right, wrong) > 1.5
    mixed = np.where(np.arange(12) < 10, labels, wrong)
    hardly_sure = 1.2 * right
    assert temperature_of(hardly_sure, mixed) < 1
    assert temperature_of_trained(hardly_sure, mixed) == 1.0  # gains less than a standard error
    all_right = np.tile(hardly_sure, (20, 1, 1))
    assert temperature_of(all_right, np.tile(labels, 20)) < 0.5
    assert temperature_of_trained(all_right, np.tile(labels, 20)) == 1.0  # no mistake to learn from
    many = np.tile(hardly_sure, (20, 1, 1))
    assert temperature_of_trained(many, np.tile(mixed, 20)) < 1


def test_a_thorough_search_is_never_worse_out_of_fold():
    for seed in range(6):
        data = rows(images=90, signal=0.6, seed=seed)
        usual, thorough = choose(data), choose(data, thorough=True)
        assert thorough.tried > usual.tried
        assert thorough.chosen.loss <= usual.chosen.loss + 1e-9


@pytest.mark.parametrize("most", [1500, 100, (40, 30)])
@pytest.mark.parametrize("holdout", [False, True])
def test_heads_of_folds_are_those_that_judged(monkeypatch, most, holdout):
    narrow(monkeypatch, most)
    training = np.arange(120) % 4 > 0
    data = rows(images=120, holdout=holdout, training=training)
    chosen = choose(data)
    heads = heads_of_folds(data, chosen)
    assert len(heads) == (1 if holdout else 4)
    judge = data.judge[chosen.images]
    assert set(judge) == set(range(len(heads)))
    for number, head in enumerate(heads):
        held_out = chosen.images[judge == number]
        assert not data.learning[held_out, number].any()
        said = outputs(head, data.features[held_out])
        np.testing.assert_allclose(said, chosen.probabilities[judge == number], atol=1e-4)
    if not holdout:
        assert np.abs(heads[0].kernel - heads[1].kernel).max() > 1e-3, "each of other images"


@pytest.mark.parametrize("views", [1, 2])
def test_of_very_many_some_choose_and_all_are_fitted(monkeypatch, views):
    narrow(monkeypatch, (100, 120))
    monkeypatch.setattr(narrowing, "ROUGH", 1e-7)
    data = rows(images=600, holdout=True, views=views, signal=1.5)
    chosen = choose(data)
    of_some = 120 // views
    assert [head.learned for head in chosen.before] == 2 * [of_some]
    best = chosen.before[0]
    left = {head.name for head in chosen.before if head.is_as_good_as(best)}
    assert {head.name for head in chosen.judged} == left
    assert {head.learned for head in chosen.judged} == {data.learned}
    assert data.learned > 3 * of_some
    assert chosen.chosen in chosen.judged
    assert len(chosen.images) == len(data.judging)
    # The heads are what scikit-learn comes to with the penalty that is named.
    head = chosen.final
    width = len(head.kernel)
    standard = transformed(data.features[:, -width:], head.transform) - head.mean
    candidate = chosen.chosen.widest.candidate
    weights = np.repeat(candidate.weights(WIDTHS), WIDTHS)[-width:]
    scaled = standard / np.sqrt(head.variance) * np.sqrt(weights)
    for mine, mask in ((chosen.training, data.training), (chosen.final, data.final)):
        learns = np.repeat(mask, views)
        exact = LogisticRegression(C=1 / chosen.chosen.penalty, tol=1e-10, max_iter=10_000)
        exact.fit(scaled[learns], np.repeat(data.labels, views)[learns])
        expected = exact.decision_function(scaled) / chosen.temperature
        ours = standard / np.sqrt(head.variance) @ mine.kernel + mine.bias
        np.testing.assert_allclose(softmax(ours, 1), softmax(expected, 1), atol=2e-3)


def test_a_parabola_finds_the_lowest_loss_between_penalties():
    def fitted(number, loss):
        return Fitted(number, np.empty(0), np.empty(0), loss)

    curve = [fitted(number, (number - 7.3) ** 2 + 1) for number in range(4, 10)]
    assert lowest_number(curve) == pytest.approx(7.3)
    assert lowest_number(curve[:3]) == 6, "nothing beyond what was fitted"
    assert lowest_number([fitted(3, 1.0)]) == 3
    assert penalty_at(7) == PENALTIES[7]
    assert PENALTIES[7] > penalty_at(7.3) > PENALTIES[8]
