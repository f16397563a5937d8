"""The descent: derivatives of its losses, and the scaling of its steps."""

import numpy as np
import pytest

from transfer.heads.descent import CrossEntropy, HalfSquares, Scaling
from transfer.heads.standardised import decompose


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
