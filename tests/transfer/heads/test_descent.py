"""The descent: derivatives of its losses, and the scaling of its steps."""

import numpy as np
import pytest

from transfer.choosing.paths import FoldedCrossEntropy
from transfer.heads.descent import CrossEntropy, Descent, HalfSquares, Scaling
from transfer.heads.standardised import decompose, leading


@pytest.mark.parametrize("loss", [CrossEntropy(), HalfSquares()])
def test_derivatives_of_the_losses(loss):
    rng = np.random.default_rng(0)
    outputs, labels = rng.normal(size=(5, 4)), np.array([0, 3, 1, 1, 2])
    value, derivative = loss.of_rows(outputs.copy(), labels)
    for index in np.ndindex(outputs.shape):
        moved = outputs.copy()
        moved[index] += 1e-6
        slope = (loss.of_rows(moved, labels)[0] - value) / 1e-6
        assert derivative[index] == pytest.approx(slope, abs=1e-5)
    # The curvature: the mean eigenvalue of the second derivatives, of which softmax has one that
    # is 0, since adding a constant to all logits changes nothing.
    eigenvalues = []
    for row, label in zip(outputs, labels, strict=True):
        moved = row + 1e-6 * np.eye(4)
        rows, repeated = np.vstack([row, moved]), np.repeat(label, 5)
        derivatives = loss.of_rows(rows, repeated)[1]
        eigenvalues.append(np.linalg.eigvalsh((derivatives[1:] - derivatives[0]) / 1e-6))
    counted = np.array(eigenvalues)[:, 1:] if isinstance(loss, CrossEntropy) else eigenvalues
    assert loss.curvature(outputs) == pytest.approx(np.mean(counted), abs=1e-5)


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)])
def test_scaling_makes_a_parabola_round(shape):
    rng = np.random.default_rng(0)
    features = (rng.normal(size=shape) * rng.uniform(0.1, 3, shape[1])).astype(np.float32)
    spectrum = decompose(features)
    scaling = Scaling.of(spectrum, 0.3, 2.0, shape[0])
    width = shape[1] + 1
    matrix = scaling.weights(np.eye(width))
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-5)
    np.testing.assert_allclose(scaling.coordinates(matrix), np.eye(width), atol=1e-4)
    centred = features - features.mean(0)
    hessian = np.zeros((width, width))
    hessian[:-1, :-1] = 0.3 * centred.T @ centred + 2.0 * np.eye(width - 1)
    hessian[-1, -1] = 0.3 * shape[0]
    scaled = matrix @ hessian @ matrix
    if shape[0] > shape[1]:
        np.testing.assert_allclose(scaled, np.eye(width), atol=1e-4)
    else:  # where there are no features, only the penalty curves it: alike, but less than by 1
        along = np.vstack([spectrum.vectors, np.zeros(len(spectrum.eigenvalues))])
        np.testing.assert_allclose(along.T @ scaled @ along, np.eye(along.shape[1]), atol=1e-4)


def problem(rows=400, width=30, classes=3):
    rng = np.random.default_rng(1)
    features = (rng.normal(size=(rows, width)) * rng.uniform(0.1, 2, width)).astype(np.float32)
    truth = rng.normal(size=(width, classes))
    return features, (features @ truth + rng.gumbel(size=(rows, classes))).argmax(1)


def fitted(features, labels, penalty, scales=None, spectrum=None):
    spectrum = decompose(features) if spectrum is None else spectrum
    outputs = 3 * labels.shape[1]
    with Descent(features, labels, spectrum, FoldedCrossEntropy(3), 1e-8, scales) as descent:
        return descent.fit(penalty, np.zeros((features.shape[1] + 1, outputs)))


def test_fits_side_by_side_come_to_what_each_comes_to_alone():
    features, labels = problem()
    penalties = [0.1, 3.0, 100.0]
    labels = np.repeat(labels[:, None], 3, axis=1)
    labels[::2, 1] = -1  # which the second does not learn from
    together, gap = fitted(features, labels, np.repeat(penalties, 3))
    assert gap <= 1e-8
    for number, penalty in enumerate(penalties):
        alone, _ = fitted(features, labels[:, number : number + 1], penalty)
        np.testing.assert_allclose(together[:, 3 * number : 3 * number + 3], alone, atol=2e-3)


def test_scales_do_what_scaled_features_do():
    features, labels = problem()
    scales = np.random.default_rng(0).uniform(0.1, 2, features.shape[1])
    scaled = features * scales.astype(np.float32)
    expected, _ = fitted(scaled, labels[:, None], 1.0)
    received, _ = fitted(features, labels[:, None], 1.0, scales, decompose(scaled))
    np.testing.assert_allclose(received, expected, atol=1e-3)


def test_a_few_leading_directions_lead_to_the_same_minimum():
    features, labels = problem(rows=3000, width=400)
    features *= np.geomspace(3, 0.01, 400).astype(np.float32)
    exact = decompose(features)
    spectrum = leading(features, np.ones(400))
    np.testing.assert_allclose(spectrum.eigenvalues[-50:], exact.eigenvalues[-50:], rtol=0.1)
    turned = spectrum.vectors.T @ spectrum.vectors
    np.testing.assert_allclose(turned, np.eye(len(turned)), atol=1e-4)
    expected, _ = fitted(features, labels[:, None], 1.0)
    received, _ = fitted(features, labels[:, None], 1.0, spectrum=spectrum)
    np.testing.assert_allclose(received, expected, atol=5e-3)


def test_a_fit_that_starts_at_its_minimum_stays():
    features, labels = problem()
    weights, _ = fitted(features, labels[:, None], 1.0)
    spectrum = decompose(features)
    with Descent(features, labels[:, None], spectrum, FoldedCrossEntropy(3), 1e-6) as descent:
        again, gap = descent.fit(1.0, weights)
    assert gap <= 1e-6
    np.testing.assert_allclose(again, weights, atol=1e-3)
