"""`python -m tests.transfer.heads.backends`: trains banks on the backend that KERAS_BACKEND names.

It prints what they came to, as JSON.
Data, initial weights and dropout masks are the same on every backend, so that only rounding may
differ. `tests.transfer.heads.test_bank_on_backends` compares.
"""

import json
import sys
from collections.abc import Iterator

import keras
import numpy as np

from transfer.heads.bank import COLUMNS, Design, HeadBank
from transfer.heads.features import feature_statistics
from transfer.heads.options import FitOptions, HeadOptions
from transfer.heads.samples import Samples
from transfer.heads.updates import SLOTS

CLASSES, WIDTH = 3, 10
EPOCHS = 5
"""Of 19 steps, the last of each on 12 rows."""


def problem(rng: np.random.Generator, num_rows: int) -> Samples:
    features = (2 * rng.normal(size=(num_rows, WIDTH)) + 1).astype(np.float32)
    kernel = np.arange(WIDTH * CLASSES).reshape(WIDTH, CLASSES) % 7 - 3
    return Samples(
        features, (features @ kernel + 6 * rng.normal(size=(num_rows, CLASSES))).argmax(1)
    )


def initial_state(designs: list[Design], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A bank's state before its first step, drawn by numpy: Keras's draws differ by backend."""
    architecture, inputs = designs[0].architecture, WIDTH
    weights, moving = [], []
    for width in (*architecture.hidden, None):
        outputs = width or CLASSES
        size = (len(designs), outputs)
        weights.append(rng.normal(size=(*size, inputs)) / np.sqrt(inputs))
        if width and architecture.batch_norm:
            weights += [np.ones(size), np.zeros(size)]
            moving += [np.zeros(size), np.ones(size)]
        else:
            weights.append(np.zeros(size))
        inputs = outputs
    slots = [np.zeros(one.shape) for one in weights for _ in range(SLOTS[architecture.optimizer])]
    stacks = {"weights": weights, "slots": slots, "moving": moving}
    arrays = {
        f"{name}.{index}": array.astype(np.float32)
        for name, listed in stacks.items()
        for index, array in enumerate(listed)
    }
    places, seconds = np.arange(len(designs)), np.zeros(len(designs))
    return {**arrays, "epochs_done": np.array(0), "seconds": seconds, "places": places}


def banks() -> Iterator[tuple[str, list[Design], list[int]]]:
    """Name, designs, and which heads are dropped after two epochs."""
    fit = {"epochs": EPOCHS, "batch_size": 16, "learning_rate": 0.01}
    linear = {"optimizer": "adamw", "monitor": "val_loss", "schedule": "constant"}
    yield (
        "linear, adamw",  # the first soon stops
        [
            Design(
                HeadOptions(l2=0.01 * number),
                FitOptions(**{**fit, **linear, "learning_rate": rate, "patience": patience}),
            )
            for number, (rate, patience) in enumerate([(2.0, 1), (0.01, 9), (0.02, 9), (0.03, 9)])
        ],
        [],
    )
    for optimizer, dropped in (("adamw", [1]), ("sgd", [])):
        yield (
            f"hidden, {optimizer}",
            [
                Design(
                    HeadOptions(hidden=(8,), batch_norm=True, activation="gelu", dropout=share),
                    FitOptions(
                        **{**fit, "optimizer": optimizer, "seed": seed},
                        **{"weight_decay": 0.05, "label_smoothing": 0.1 * seed},
                    ),
                )
                for seed, share in enumerate((0.1, 0.3, 0.5))
            ],
            dropped,
        )


def main() -> None:
    rng = np.random.default_rng(0)
    train, val = problem(rng, 300), problem(rng, 200)
    statistics, results = feature_statistics(train.features), {}
    for name, designs, dropped in banks():
        bank = HeadBank(designs, *statistics, (WIDTH,), CLASSES)
        bank.restore(
            initial_state(designs, rng), [{column: [] for column in COLUMNS}] * len(designs)
        )
        bank.fit(train, val, 2)
        bank.drop(dropped)
        bank.fit(train, val, EPOCHS)
        state = bank.state()
        results[name] = {
            "epochs": [len(history["val_loss"]) for history in bank.history],
            **{
                column: [history[column][-1] for history in bank.history]
                for column in ("loss", "val_loss", "val_accuracy")
            },
            "places": state["places"].tolist(),
            "weights": state["weights.0"][:, 0, :3].ravel().tolist(),
        }
        if name.startswith("linear"):
            outputs = keras.ops.convert_to_numpy(bank.head(1)(val.features))
            results[name]["accuracy_of_head"] = float(np.mean(outputs.argmax(1) == val.labels))
            results[name]["best_accuracy"] = bank.fitted(1).best["val_accuracy"]
    told = {"tensorflow": "tensorflow" in sys.modules, "results": results}
    print(json.dumps({"backend": keras.backend.backend(), **told}))


if __name__ == "__main__":
    main()
