"""Training of heads against plain Keras: one, and many in a bank."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tests.benchmarks import cifar
from tests.benchmarks.timing import compare, seconds, summary
from transfer.backend.startup import import_keras
from transfer.heads.options import FitOptions, HeadOptions
from transfer.heads.samples import Samples

BATCH = 256
EPOCHS = 10
SINGLES = 1
"""Heads that `Model.fit` trains; their time is scaled to the bank's number."""
REPETITIONS = 2
HALVING = {2: 11, 5: 4}
"""Epochs after which so many heads stay."""


def head_training() -> dict:
    """Two epochs of a linear head on 50,000 x 1,280 features: `Model.fit` as is against ours."""
    import_keras()
    from transfer.heads.building import build_head
    from transfer.heads.fitting import fit_head

    rng = np.random.default_rng(0)
    features = rng.normal(size=(50_000, 1280)).astype(np.float32)
    labels = rng.integers(0, 10, 50_000)
    few = features[:1000], labels[:1000]
    options = FitOptions(epochs=2, batch_size=256, learning_rate=1e-3, schedule="constant")

    def head():
        return build_head(HeadOptions(), np.zeros(1280), np.ones(1280), (1280,), 10)

    def plain():
        model = head()
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(features, labels, batch_size=256, epochs=2, validation_data=few, verbose=0)

    return compare(
        "head training: Model.fit / fit_head",
        plain,
        lambda: fit_head(head(), features, labels, *few, options),
    )


def banks() -> list[dict]:
    """Banks on all 50,000 training rows of CIFAR-10, 10 epochs, against separate `Model.fit`."""
    import_keras()
    train = Samples(*cifar.all_training_rows())
    linear, hidden = HeadOptions(l2=0.0), HeadOptions(hidden=(128,))
    return [
        *_linear(linear, 128, train),
        *_hidden(hidden, 32, train),
        *_arithmetic(hidden, 32, train),
    ]


def _linear(head: HeadOptions, number: int, train: Samples) -> list[dict]:
    pairs: dict[int, list[tuple[float, float]]] = {1: [], 64: []}
    for _ in range(REPETITIONS):
        ours = seconds(lambda: _train(head, number, train))
        for steps, listed in pairs.items():
            alone = seconds(lambda: _fit_alone(head, train, steps))  # noqa: B023
            listed.append((alone * number / SINGLES, ours))
    what = f"{number} linear heads: Model.fit, {{}} steps per execution / bank"
    goals = {1: 30, 64: 12}
    return [summary(what.format(steps), pairs[steps], goal=goals[steps]) for steps in pairs]


def _hidden(head: HeadOptions, number: int, train: Samples) -> list[dict]:
    whole, halved = [], []
    for _ in range(REPETITIONS):
        alone = seconds(lambda: _fit_alone(head, train, 1)) * number / SINGLES
        whole.append((alone, seconds(lambda: _train(head, number, train))))
        halved.append((alone, seconds(lambda: _train(head, number, train, HALVING))))
    what = f"{number} heads, {head.hidden[0]} hidden: Model.fit / bank"
    return [summary(what, whole, goal=2), summary(f"{what} with halving", halved, goal=5)]


def _fit_alone(head: HeadOptions, train: Samples, steps_per_execution: int) -> None:
    from transfer.heads.building import build_head

    for seed in range(SINGLES):
        model = build_head(head, np.zeros(1280), np.ones(1280), (1280,), 10, seed)
        model.compile(
            "adam",
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
            steps_per_execution=steps_per_execution,
        )
        model.fit(train.features, train.labels, batch_size=BATCH, epochs=EPOCHS, verbose=0)


def _train(
    head: HeadOptions, number: int, train: Samples, keep: dict[int, int] | None = None
) -> None:
    """Trains a bank from its building to its end; after some epochs only so many heads stay.

    It validates after each epoch, on 1,000 rows, which the runs of `Model.fit` do not.
    """
    bank = _bank(head, number)
    few = Samples(train.features[:1000], train.labels[:1000])
    for epochs, stay in (keep or {}).items():
        bank.fit(train, few, epochs)
        accuracies = [
            history["val_accuracy"][-1] if len(history["loss"]) == epochs else -1.0
            for history in bank.history
        ]
        bank.drop(np.argsort(accuracies)[: number - stay].tolist())
    bank.fit(train, few, EPOCHS)


def _bank(head: HeadOptions, number: int):
    from transfer.heads.bank import Design, HeadBank

    fit = FitOptions(epochs=EPOCHS, batch_size=BATCH, patience=EPOCHS)
    rates = np.geomspace(1e-4, 1e-2, number).tolist()
    designs = [
        Design(head, replace(fit, learning_rate=rate, seed=seed)) for seed, rate in enumerate(rates)
    ]
    ones = np.ones(1280, np.float32)
    return HeadBank(designs, 0 * ones, ones, (1280,), 10)


def _arithmetic(head: HeadOptions, number: int, train: Samples) -> list[dict]:
    """GFLOP/s of a bank's epoch over those of plain products, as the seconds that both take."""
    from keras import ops

    bank, few = _bank(head, number), Samples(train.features[:1000], train.labels[:1000])
    bank.fit(train, few, 1)
    rng = np.random.default_rng(0)
    width = head.hidden[0]
    # Forward and by the kernel for the first layer; also by the activations for the second.
    flops = len(train.labels) * number * (4 * 1280 * width + 6 * width * 10)
    one = rng.normal(size=(2048, 1280)).astype(np.float32)
    other = rng.normal(size=(1280, 2048)).astype(np.float32)
    tensors = ops.convert_to_tensor(one), ops.convert_to_tensor(other)
    products = range(round(flops / (2 * 2048 * 1280 * 2048)))
    ways: dict[str, Callable[[], object]] = {
        "of the same backend": lambda: [
            ops.convert_to_numpy(ops.matmul(*tensors)) for _ in products
        ],
        "of numpy": lambda: [one @ other for _ in products],
    }
    pairs: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for epochs in range(2, 4 + REPETITIONS):
        ours = seconds(lambda: bank.fit(train, few, epochs))  # noqa: B023
        for way, run in ways.items():
            plain = seconds(run)
            pairs[way].append((plain, ours))
            print(
                f"GFLOP/s: bank {flops / ours / 1e9:.0f}, products {way} {flops / plain / 1e9:.0f}"
            )
    what = f"{number} heads, {width} hidden: plain products {{}} / bank"
    return [summary(what.format(way), pairs[way], goal=0.6) for way in ways]
