"""Two things timed in turn: A B A B, the median ratio, and the extremes."""

import statistics
import time
from collections.abc import Callable, Sequence

REPETITIONS = 5


def seconds(run: Callable[[], object]) -> float:
    """Wall seconds of one run."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def compare(
    name: str,
    baseline: Callable[[], object],
    ours: Callable[[], object],
    num_bytes: int = 0,
    goal: float | None = None,
) -> dict:
    """Times two things in turn; arguments and result as those of `summary`."""
    baseline(), ours()  # compiled and cached before anything counts
    pairs = [(seconds(baseline), seconds(ours)) for _ in range(REPETITIONS)]
    return summary(name, pairs, num_bytes, goal)


def summary(
    name: str,
    pairs: Sequence[tuple[float, float]],
    num_bytes: int = 0,
    goal: float | None = None,
) -> dict:
    """One row of the table.

    Args:
        name: What is compared: baseline / ours.
        pairs: Seconds of baseline and ours, of each repetition.
        num_bytes: Bytes that either moves, or 0 where that says nothing.
        goal: The least ratio that is good enough, if there is one.

    Returns:
        Medians; the ratio says how many times faster ours is.
    """
    ratios = [slow / fast for slow, fast in pairs]
    baseline = statistics.median(slow for slow, _ in pairs)
    ours = statistics.median(fast for _, fast in pairs)
    return {
        "what": name,
        "baseline seconds": short(baseline),
        "our seconds": short(ours),
        "baseline MB/s": short(num_bytes / baseline / 1e6),
        "our MB/s": short(num_bytes / ours / 1e6),
        "ratio": round(statistics.median(ratios), 2),
        "lowest": round(min(ratios), 2),
        "highest": round(max(ratios), 2),
        "goal": goal,
    }


def figure(name: str, value: float, goal: float) -> dict:
    """A row of the table that is no comparison of times.

    Args:
        name: What is measured.
        value: The higher the better.
        goal: The least that is good enough.
    """
    row = dict.fromkeys(summary(name, [(1.0, 1.0)]))
    return {**row, "what": name, "ratio": round(value, 2), "goal": goal}


def short(value: float) -> float | None:
    """A number to three digits; None for nothing."""
    return float(f"{value:.3g}") or None
