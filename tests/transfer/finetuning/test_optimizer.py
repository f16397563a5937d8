"""The optimizer, compared with Adam written out in numpy."""

import keras
import numpy as np
import pytest

from transfer.finetuning.optimizer import ScheduledAdam, rates_at

STEPS, WARMUP, HIGHEST, DECAY, CLIP, AVERAGING = 20, 0.2, 0.05, 0.3, 1.0, 0.8
SHAPES = {"kernel": (3, 4), "bias": (4,), "far": (2, 5)}
FACTORS = {"bias": 0.5, "far": 0.1}


def start_and_gradients(batches=STEPS):
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape) for shape in SHAPES.values()]
    # Some are clipped and some are not.
    scales = np.geomspace(0.01, 3, batches)
    gradients = [[s * rng.normal(size=shape) for shape in SHAPES.values()] for s in scales]
    return start, gradients


def made(start, accumulate=1, decay=DECAY):
    variables = [
        keras.Variable(value.astype(np.float32), name=name)
        for name, value in zip(SHAPES, start, strict=True)
    ]
    optimizer = ScheduledAdam(
        {variable.path: FACTORS.get(variable.name, 1.0) for variable in variables},
        decay,
        CLIP,
        accumulate,
        AVERAGING,
    )
    optimizer.build(variables)
    return optimizer, variables


def run(optimizer, variables, gradients):
    for each in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(g, "float32") for g in each], variables)
    return [np.array(variable) for variable in variables]


def adam(start, gradients, rates):
    """The same in numpy: the variables, and their running averages, after each step."""
    values = [value.copy() for value in start]
    means, squares = [0.0] * len(values), [0.0] * len(values)
    averages, seen = [], []
    for step, (each, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        norm = np.sqrt(sum((g**2).sum() for g in each))
        for n, (name, g) in enumerate(zip(SHAPES, each, strict=True)):
            own, g = rate * FACTORS.get(name, 1.0), g * min(1.0, CLIP / norm)
            means[n] = 0.9 * means[n] + 0.1 * g
            squares[n] = 0.999 * squares[n] + 0.001 * g**2
            kept = 1 - own * DECAY if values[n].ndim > 1 else 1.0
            # Kingma and Ba, 2015, the efficient form at the end of section 2.
            own *= np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            values[n] = kept * values[n] - own * means[n] / (np.sqrt(squares[n]) + 1e-7)
        share = AVERAGING if averages else 0.0
        averages = [
            share * a + (1 - share) * v for a, v in zip(averages or values, values, strict=True)
        ]
        seen.append(([*values], averages))
    return seen


def test_steps_are_those_of_adam_with_decay_clipping_factors_and_schedule():
    start, gradients = start_and_gradients()
    norms = [np.sqrt(sum((g**2).sum() for g in each)) for each in gradients]
    assert min(norms) < CLIP < max(norms)
    optimizer, variables = made(start)
    optimizer.schedule(HIGHEST, STEPS, WARMUP)
    rates = rates_at(np.arange(STEPS), HIGHEST, STEPS, WARMUP)
    seen = adam(start, gradients, rates)
    for each, (values, averages) in zip(gradients, seen, strict=True):
        found = run(optimizer, variables, [each])
        for one, other in zip(found, values, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=5e-6)
        for one, other in zip(optimizer.averages(), averages, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=5e-6)


def test_the_rate_rises_and_falls_as_a_cosine():
    rates = rates_at(np.arange(11), 2.0, 10, 0.2).tolist()
    assert rates[:2] == [1.0, 2.0]
    cosine = 1 + np.cos(np.pi * np.arange(9) / 8)
    np.testing.assert_allclose(rates[2:], cosine, atol=1e-12)
    assert rates_at(99, 2.0, 10, 0.2) == 0
    assert rates_at(0, 2.0, 10, 0.0) == 2.0, "a step of warming up at least, and no division by it"
    assert rates_at(0, 2.0, 1, 0.0) == 2.0


def test_the_rate_rises_by_powers_of_ten_when_asked():
    start, gradients = start_and_gradients(5)
    optimizer, variables = made(start)
    optimizer.schedule(0.1, 5, 0.0, decades=4.0)
    seen = adam(start, gradients, np.geomspace(1e-5, 1e-1, 5))
    found = run(optimizer, variables, gradients)
    for one, other in zip(found, seen[-1][0], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=5e-6)


def test_two_accumulated_batches_are_one_step_of_both():
    start, halves = start_and_gradients(2 * STEPS)
    wholes = [
        [(a + b) / 2 for a, b in zip(halves[n], halves[n + 1], strict=True)]
        for n in range(0, 2 * STEPS, 2)
    ]
    optimizer, variables = made(start, accumulate=2)
    optimizer.schedule(HIGHEST, STEPS, WARMUP)
    first = run(optimizer, variables, halves[:1])
    for one, other in zip(first, start, strict=True):
        np.testing.assert_array_equal(one, other.astype(np.float32), "half a step moves nothing")
    found = run(optimizer, variables, halves[1:])
    rates = rates_at(np.arange(STEPS), HIGHEST, STEPS, WARMUP)
    for one, other in zip(found, adam(start, wholes, rates)[-1][0], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_a_new_schedule_begins_anew():
    start, gradients = start_and_gradients(6)
    optimizer, variables = made(start)
    results = []
    for _ in range(2):
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        optimizer.schedule(HIGHEST, 6, WARMUP)
        results.append([*run(optimizer, variables, gradients), *optimizer.averages()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", SHAPES)
def test_only_kernels_decay(name):
    start, _ = start_and_gradients(1)
    optimizer, variables = made(start)
    optimizer.schedule(0.1, 1, 0.0)
    found = run(optimizer, variables, [[np.zeros(shape) for shape in SHAPES.values()]])
    number = list(SHAPES).index(name)
    share = 1 - 0.1 * DECAY * FACTORS.get(name, 1.0) if len(SHAPES[name]) > 1 else 1.0
    np.testing.assert_allclose(found[number], share * start[number], rtol=1e-6)
