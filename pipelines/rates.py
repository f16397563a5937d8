"""The rates stage: which learning rates a head can take, from one pass with all of them."""

import time
from dataclasses import dataclass, field, replace

import numpy as np

from pipelines import features as features_stage
from pipelines.heads.training import TrainingData, read_training_data
from pipelines.results import write_json
from pipelines.runs import check_replaced
from pipelines.setup import Setup
from transfer.errors import InputError
from transfer.heads.options import FitOptions, HeadOptions


@dataclass(frozen=True)
class RatesStage:
    """Train one head at many learning rates at once, for a pass, and suggest one of them."""

    setup: Setup = field(default_factory=Setup)
    head: HeadOptions = field(default_factory=HeadOptions)
    fit: FitOptions = field(default_factory=FitOptions)
    use_cuts: tuple[str, ...] = ()
    """Cuts that the head sees, of those in the feature file; by default all, joined."""
    lowest: float = 1e-6
    """Lowest rate that is tried."""
    highest: float = 1.0
    """Highest rate that is tried."""
    number: int = 37
    """How many rates, evenly spaced on a log scale."""
    passes: int = 1
    """Passes over the training rows."""

    def __post_init__(self) -> None:
        """Refuses values that cannot work."""
        if not 0 < self.lowest < self.highest < np.inf:
            raise InputError(
                "--lowest and --highest expect rates above 0, the lower first, "
                f"received {self.lowest} and {self.highest}"
            )
        if self.number < 3 or self.passes < 1:
            raise InputError(
                "--number expects at least 3 rates and --passes at least 1, "
                f"received {self.number} and {self.passes}"
            )


def run(stage: RatesStage) -> dict:
    """Trains, draws loss against rate, and prints a suggestion.

    Returns:
        What is also written to `rates.json`: rates, losses, and the suggested rate.

    Raises:
        InputError: If the run was made from other data.
    """
    from transfer.pictures.curves import plot_rate_range

    check_replaced(stage.setup)
    with features_stage.open_features(stage.setup) as features:
        data = read_training_data(stage.setup, features, stage.use_cuts)
        started = time.monotonic()
        rates = np.geomspace(stage.lowest, stage.highest, stage.number)
        losses = losses_at(stage, data, rates)
    seconds = time.monotonic() - started
    suggestion = suggest(rates, losses)
    folder = stage.setup.run_folder
    folder.mkdir(parents=True, exist_ok=True)
    best = int(np.argmin(losses))
    if best in (0, len(rates) - 1):
        print("rates: the best loss is at the edge of the rates; widen --lowest or --highest")
    picture = plot_rate_range(rates, losses, suggestion, folder / "rates.png")
    result = {
        "rates": rates.tolist(),
        "val_loss": [float(loss) if np.isfinite(loss) else None for loss in losses],
        "suggestion": suggestion,
    }
    write_json(folder / "rates.json", result)
    print(
        f"rates: {len(rates)} heads in {seconds:.1f} s; suggested: --learning-rate "
        f"{suggestion:.2g}, see {picture}"
    )
    return result


def losses_at(stage: RatesStage, data: TrainingData, rates: np.ndarray) -> np.ndarray:
    """Validation loss after training at each of some constant rates, from the same beginning.

    Returns:
        `(rates,)` nats; infinite where training diverged.
    """
    from transfer.heads.bank import Design, HeadBank

    fit = replace(stage.fit, epochs=stage.passes, schedule="constant", patience=stage.passes)
    designs = [
        Design(stage.head, replace(fit, learning_rate=float(rate), monitor="val_loss"))
        for rate in rates
    ]
    shape = data.train.features.shape[1:]
    bank = HeadBank(designs, data.mean, data.variance, shape, data.num_classes, fit.seed)
    bank.fit(data.train, data.val, stage.passes)
    return np.array([history["val_loss"][-1] for history in bank.history])


def suggest(rates: np.ndarray, losses: np.ndarray) -> float:
    """The rate in the middle of those nearly as good as the best, to two digits.

    The loss is flat around its minimum, where noise would decide; and a rate well inside the flat
    is safer than one at the edge, behind which training diverges.

    Args:
        rates: `(n,)` increasing.
        losses: `(n,)` nats, infinite where training diverged.

    Raises:
        InputError: If training diverged at every rate.
    """
    finite = np.isfinite(losses)
    if not finite.any():
        raise InputError("training diverged at every rate; try lower ones: --lowest, --highest")
    best = losses[finite].min()
    untrained = losses[finite][0]
    near = np.flatnonzero(losses <= best + 0.02 * max(untrained - best, 0.0))
    return float(f"{np.sqrt(rates[near[0]] * rates[near[-1]]):.2g}")
