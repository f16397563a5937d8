"""Options of heads: what follows from them, and which are refused."""

import pytest

from transfer.errors import InputError
from transfer.heads.options import FitOptions


def test_small_sets_get_small_batches_and_wide_features_small_rates():
    options = FitOptions()
    assert [options.batch_size_for(rows) for rows in (10, 480, 1150, 5000, 45000)] == [
        *[16, 16, 32, 128, 256]
    ]
    assert FitOptions(batch_size=7).batch_size_for(45000) == 7
    assert options.learning_rate_for(1280) == options.learning_rate_for(20) == 1e-3
    assert options.learning_rate_for(4 * 1280) == pytest.approx(5e-4)
    assert FitOptions(learning_rate=0.1).learning_rate_for(4 * 1280) == 0.1


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"epochs": 0}, "--epochs"),
        ({"batch_size": 0}, "--batch-size"),
        ({"learning_rate": float("nan")}, "--learning-rate"),
        ({"label_smoothing": 1.0}, "--label-smoothing"),
    ],
)
def test_impossible_options_are_refused(values, flag):
    with pytest.raises(InputError, match=flag):
        FitOptions(**values)


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", -1), ("warmup_epochs", float("nan")), ("weight_decay", -0.1), ("decay", -1.0)],
)
def test_options_that_cannot_work_are_refused(name, value):
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} expects"):
        FitOptions(**{name: value})
