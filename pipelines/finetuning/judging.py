"""Trains every fold, judges the way from start to end on what it has not seen, chooses how far."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.finetuning.folds import Fold
from pipelines.finetuning.inputs import Inputs
from pipelines.finetuning.interrupted import Checkpoints
from pipelines.progress import estimate, progress
from transfer.errors import InputError
from transfer.finetuning.interpolation import SHARES, Step, between, choose_step, mean_move
from transfer.finetuning.options import FinetuneOptions
from transfer.metrics import SMALLEST_PROBABILITY, cross_entropy

if TYPE_CHECKING:
    import keras

    from transfer.finetuning.tuning import Batches, Trained

Weights = list[np.ndarray]

PARITY = 5e-3
"""Largest difference in mean loss between the cached head and the classifier, nats."""


@dataclass(frozen=True, eq=False)
class Judgement:
    """What trainings came to.

    Attributes:
        steps: How good the weights are along the way, from the start on.
        chosen: One of them.
        rows: `(images,)` row numbers of the images that judged.
        folds: `(images,)` integers, the fold in which an image judged.
        before: `(images, classes)` probabilities at the start.
        after: The same at the chosen step.
        move: Of each trained variable, from start to end, the mean over the folds.
        histories: Of the folds.
        rate: That they were trained with.
    """

    steps: tuple[Step, ...]
    chosen: Step
    rows: np.ndarray
    folds: np.ndarray
    before: np.ndarray
    after: np.ndarray
    move: Weights
    histories: tuple[dict[str, list[float]], ...]
    rate: float


class Trainings:
    """The trainings of a classifier, one a fold, with one compiled step.

    Args:
        inputs: What they read.
        labels: `(rows,)` integers, of all rows.
        num_classes: Number of classes.
        body: The classifier's, with backbone and head.
        depths: From `Unfrozen`.
        folds: Who learns, and who judges.
        options: How to train.
    """

    def __init__(
        self,
        inputs: Inputs,
        labels: np.ndarray,
        num_classes: int,
        body: "keras.Model",
        depths: dict[str, int],
        folds: Sequence[Fold],
        options: FinetuneOptions,
    ) -> None:
        from transfer.finetuning.tuning import Tuner

        self._inputs, self._labels, self._options = inputs, labels, options
        self._folds = folds
        smoothing = options.label_smoothing
        sure = np.eye(num_classes, dtype=np.float32)[labels]
        self._targets = (1 - smoothing) * sure + np.float32(smoothing / num_classes)
        self.steps = -(-len(folds[0].learning) // options.batch_size) * options.epochs
        backbone, head = body.get_layer("backbone"), body.get_layer("head")
        self.tuner = Tuner(inputs.model, backbone, head, depths, options, self.steps)
        trained = {id(variable) for variable in head.trainable_variables}
        self._of_head = [id(variable) in trained for variable in self.tuner.variables]

    @property
    def learned(self) -> np.ndarray:
        """Increasing row numbers of the images that any fold learns from."""
        return np.unique(np.concatenate([fold.learning for fold in self._folds]))

    def start_of(self, fold: Fold) -> Weights:
        """What a fold's training starts from: the backbone's own weights and the fold's head."""
        if fold.start is None:
            return self.tuner.start
        head = iter(fold.start)
        pairs = zip(self.tuner.start, self._of_head, strict=True)
        return [next(head) if of_head else value for value, of_head in pairs]

    def batches(self, rows: np.ndarray, seed: int, epoch: int = 0) -> "Batches":
        """Training batches of some rows."""
        from sklearn.utils.class_weight import compute_sample_weight

        from transfer.finetuning.tuning import Batches

        labels = self._labels[rows]
        balanced = self._options.class_weights == "balanced"
        weights = compute_sample_weight("balanced", labels) if balanced else np.ones(len(rows))
        size = self._options.batch_size
        images = self._inputs.batches(rows, size, seed, epoch)
        return Batches(images, self._targets[rows], weights.astype(np.float32), labels, size)

    def rate(self, limit: float | None) -> float:
        """The rate that a short test on the first fold's images finds, up to a limit."""
        from transfer.finetuning.rate_test import STEPS, find_rate

        fold = self._folds[0]
        self.tuner.set_weights(self.start_of(fold))
        generator = np.random.default_rng(self._options.seed)
        count = STEPS * self._options.batch_size
        rows = np.resize(generator.permutation(fold.learning), count)
        with progress("finding a rate", STEPS, "steps") as update:
            found = find_rate(self.tuner, self.batches(rows, self._options.seed), update)
        return found.rate if limit is None else min(limit, found.rate)

    def judge(self, rate: float, checkpoints: Checkpoints, is_exact: bool) -> Judgement:
        """Trains and judges every fold.

        Args:
            rate: The schedule's highest.
            checkpoints: Where trainings keep their state.
            is_exact: Whether features are in float32, so that the start must score as the head.

        Raises:
            InputError: If the start does not score as the head did on cached features.
            DivergedError: If a training lost its way.
        """
        moves, histories, said = [], [], []
        total = len(self._folds) * self.steps
        note = estimate("finetune", total, "steps")
        with progress("finetune", total, "steps") as update:
            for number, fold in enumerate(self._folds):
                start = self.start_of(fold)
                self.tuner.set_weights(start)
                at_start = self._inputs.predict(fold.judging)
                loss = self._check_start(at_start, fold, is_exact)
                if not number:
                    first = "in the first fold " if len(self._folds) > 1 else ""
                    print(
                        f"finetune: starts {first}at log loss {loss:.4f} from "
                        f"{self._inputs.in_words}, {fold.loss:.4f} from cached features"
                    )
                done = number * self.steps

                def report(step: int, scores: dict[str, float], done: int = done) -> None:
                    update(done + step, f"loss {scores['loss']:.3f}")
                    note(done + step)

                trained = self._train(number, fold, rate, checkpoints.of_fold(number), report)
                moves.append((start, trained.weights))
                histories.append(trained.history)
                said.append(self._along(start, trained.weights, fold, at_start))
        rows = np.concatenate([fold.judging for fold in self._folds])
        steps, probabilities = self._judged(rows, np.concatenate(said, axis=1))
        chosen = self._chosen(steps, rows, probabilities[0])
        after = probabilities[steps.index(chosen)]
        move = mean_move(moves)
        sizes = [len(fold.judging) for fold in self._folds]
        return Judgement(
            steps,
            chosen,
            rows,
            np.repeat(np.arange(len(sizes)), sizes),
            probabilities[0],
            after,
            move,
            tuple(histories),
            rate,
        )

    def _scores(self, fold: Fold, said: np.ndarray) -> dict[str, float]:
        """Of what was said of the images that the fold has not seen."""
        labels = self._labels[fold.judging]
        accuracy = float((said.argmax(1) == labels).mean())
        return {"val_loss": cross_entropy(said, labels), "val_accuracy": accuracy}

    def _check_start(self, said: np.ndarray, fold: Fold, is_exact: bool) -> float:
        """The loss of the start, which must be that of the head."""
        loss = self._scores(fold, said)["val_loss"]
        # The classifier computes in float32, so that coarser features may differ by more.
        if is_exact and abs(loss - fold.loss) > PARITY:
            raise InputError(
                f"the classifier's loss is {loss:.4f} from {self._inputs.in_words} and "
                f"{fold.loss:.4f} from cached features; expected the same, so features and images "
                "do not belong together: run `transfer head` again"
            )
        return loss

    def _train(
        self,
        number: int,
        fold: Fold,
        rate: float,
        folder: Path,
        report: Callable[[int, dict[str, float]], None],
    ) -> "Trained":
        seed = self._options.seed + number

        def batches(epoch: int) -> "Batches":
            return self.batches(fold.learning, seed, epoch)

        def validate() -> dict[str, float]:
            return self._scores(fold, self._inputs.predict(fold.judging))

        return self.tuner.train(batches, rate, folder, validate, report)

    def _along(self, start: Weights, end: Weights, fold: Fold, at_start: np.ndarray) -> np.ndarray:
        """`(shares, images, classes)` logits of images not seen, along the way."""
        logits = [_logits(at_start)]
        for share in SHARES[1:]:
            self.tuner.set_weights(between(start, end, share))
            logits.append(_logits(self._inputs.predict(fold.judging)))
        return np.stack(logits)

    def _judged(
        self, rows: np.ndarray, logits: np.ndarray
    ) -> tuple[tuple[Step, ...], list[np.ndarray]]:
        """How good each share of the way is, calibrated, and what it says of the images."""
        labels = self._labels[rows]
        steps, probabilities = [], []
        for share, of_share in zip(SHARES, logits, strict=True):
            temperature = _temperature(of_share, labels) if share else 1.0  # the head as it is
            step, said = _step(share, of_share, labels, temperature)
            steps.append(step)
            probabilities.append(said)
        return tuple(steps), probabilities

    def _chosen(self, steps: tuple[Step, ...], rows: np.ndarray, before: np.ndarray) -> Step:
        """How far to go: what calibration alone would gain is no reason to move."""
        labels, logits = self._labels[rows], _logits(before)
        calibrated, _ = _step(0.0, logits, labels, _temperature(logits, labels))
        chosen = choose_step((calibrated, *steps[1:]))
        return chosen if chosen.share else steps[0]


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """Logits that give these probabilities."""
    return np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))


def _temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """By which logits `(images, classes)` are to be divided; it makes no model surer than it is.

    Training makes models too sure already. Were all images right, one would be made certain of
    everything, and its first mistake cost more than all that was gained.
    """
    from transfer.choosing.temperature import temperature_of

    return max(1.0, temperature_of(logits[:, None], labels))


def _step(
    share: float, logits: np.ndarray, labels: np.ndarray, temperature: float
) -> tuple[Step, np.ndarray]:
    """How good logits `(images, classes)` are, and the probabilities they give."""
    from transfer.choosing.paths import losses_of, probabilities_of

    calibrated = logits[:, None] / temperature
    probabilities = probabilities_of(calibrated)
    hits = (probabilities.argmax(1) == labels).astype(float)
    return Step(share, losses_of(calibrated, labels), hits, temperature), probabilities
