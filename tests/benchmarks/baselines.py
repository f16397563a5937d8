"""The exact baselines against scikit-learn's own."""

import math
import warnings

from pipelines.heads.training import TrainingData
from tests.benchmarks.timing import seconds, summary
from transfer.heads import baselines
from transfer.heads.standardised import StandardisedData, standardise

EVERY = 5
"""Penalty of which scikit-learn fits one, for minutes; the time is scaled to all."""


def logistic_path(read: TrainingData) -> dict:
    """Logistic regression over 45 penalties: scikit-learn fitted one by one, our path.

    Ours begins with features that are not standardised yet, scikit-learn with those that are. One
    repetition: scikit-learn takes minutes.

    Returns:
        A row as of `timing.summary`; its name has the best validation loss of both.
    """
    found: dict[str, float] = {}

    def standardised() -> StandardisedData:
        return standardise(read.train, read.val, read.mean, read.variance, read.num_classes)

    def ours() -> None:
        path = baselines.logistic_path(standardised())
        found["ours"], found["fits"] = path.best.val_loss, len(path.baselines)

    def one_by_one() -> None:
        found["theirs"] = min(_fit_theirs(data, penalty) for penalty in some)

    our_seconds = seconds(ours)
    data = standardised()
    some = baselines.PENALTIES[::EVERY]
    their_seconds = seconds(one_by_one) * len(baselines.PENALTIES) / len(some)
    name = (
        f"logistic path: sklearn x {len(baselines.PENALTIES)} / ours, {found['fits']} fits "
        f"(val loss {found['theirs']:.5f} / {found['ours']:.5f})"
    )
    return summary(name, [(their_seconds, our_seconds)], goal=5)


def _fit_theirs(data: StandardisedData, penalty: float) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    scale = 2 if data.num_classes == 2 else 1  # there two classes have one logit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 100 iterations are not enough for the weak penalties
        model = LogisticRegression(C=scale / penalty).fit(data.features, data.labels)
    loss = log_loss(data.val_labels, model.predict_proba(data.val_features), labels=model.classes_)
    return loss if math.isfinite(loss) else math.inf
