"""Trials of a sweep: what each head is, and which of them are trained together."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import Any, get_type_hints

from pipelines.setup import Setup
from pipelines.sweeping.space import in_words
from transfer.backbones.cuts import cut_patterns
from transfer.backbones.options import BackboneOptions
from transfer.heads.options import FitOptions, HeadOptions
from transfer.images.sources import how_split

STACK_BYTES = 2**28
"""Of the weights of one group's heads with all that training keeps beside them."""
COPIES = 6
"""Of each weight: itself, two slots of the optimizer, gradient, the next value, the best."""


@dataclass(frozen=True)
class Trial:
    """One point of the search.

    Attributes:
        number: Its place in the search, from 0.
        point: The options that the search set and that have an effect; what the leaderboard shows.
        setup: Images, backbone and place of the results.
        use_cuts: Cuts that the head sees.
        head: Its layers.
        fit: How it is trained; its seed is the first of as many as are wanted.
    """

    number: int
    point: Mapping[str, Any]
    setup: Setup
    use_cuts: tuple[str, ...]
    head: HeadOptions
    fit: FitOptions


@dataclass(frozen=True)
class Group:
    """Trials on the same features that are trained as one bank, or as one per fold.

    Attributes:
        trials: Of one cache entry, choice of cuts and stack key.
        features: The cache entry's key.
    """

    trials: tuple[Trial, ...]
    features: str

    @property
    def features_in_words(self) -> str:
        """What the search says of backbone and cuts; empty if nothing."""
        options = {option.name for option in fields(BackboneOptions)} | {"use_cuts"}
        point = self.trials[0].point
        return " ".join(f"{name}={in_words(point[name])}" for name in point if name in options)

    @property
    def description(self) -> str:
        """Number and architecture of the heads in words."""
        trial, number = self.trials[0], len(self.trials)
        layers = "+".join(map(str, trial.head.hidden))
        kind = f"with {layers} hidden" if layers else "linear"
        norm = " and batch norm" if layers and trial.head.batch_norm else ""
        heads = f"{number} head{'s' if number > 1 else ''}"
        dropped = ", dropout" if trial.head.dropout else ""
        seen = self.features_in_words and f", {self.features_in_words}"
        return f"{heads} {kind}{norm}{dropped}, {trial.fit.optimizer}{seen}"

    def key(self, **plan: Any) -> str:
        """Digest of all that decides what training the group comes to.

        Args:
            plan: What the trials do not know: rungs, folds, versions.
        """
        text = json.dumps(
            {
                "features": self.features,
                "splits": how_split(self.trials[0].setup.data),
                "use_cuts": self.trials[0].use_cuts,
                "heads": [[asdict(trial.head), asdict(trial.fit)] for trial in self.trials],
                **plan,
            },
            sort_keys=True,
            default=str,
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def option_kinds() -> dict[str, Any]:
    """Options that a search may set, with their types: of heads, fitting, and cache entries."""
    kinds = {
        option.name: get_type_hints(options)[option.name]
        for options in (BackboneOptions, HeadOptions, FitOptions)
        for option in fields(options)
    }
    return {**kinds, "use_cuts": tuple[str, ...]}


def distinct(trials: Iterable[Trial]) -> list[Trial]:
    """Leaves out trials that would come to just what one before them comes to.

    Args:
        trials: In the order of the search.

    Returns:
        Those that are left, without the options in their points that have no effect.

    Raises:
        InputError: If there is no such backbone, or images are too small for one.
    """
    found: dict[Any, Trial] = {}
    for trial in trials:
        head, fit, backbone = trial.head, trial.fit, trial.setup.backbone
        seen = replace(backbone.effective(), cut=cut_patterns(backbone))
        setup = replace(trial.setup, backbone=seen)
        idle = {*head.without_effect, *fit.without_effect, *backbone.without_effect}
        point = {name: value for name, value in trial.point.items() if name not in idle}
        key = setup, trial.use_cuts, head.effective(), fit.effective()
        found.setdefault(key, replace(trial, point=point))
    return list(found.values())


def groups_of(
    trials: Iterable[Trial], features: str, num_features: int, num_classes: int, seeds: int
) -> Iterator[Group]:
    """Puts trials on the same features together that can be stacked, few enough for the memory.

    Args:
        trials: Of one cache entry and choice of cuts.
        features: The cache entry's key.
        num_features: Of one sample, as heads see it.
        num_classes: Number of classes.
        seeds: Heads per trial.
    """
    from transfer.heads.bank import Design, stack_key

    stacks: dict[Any, list[Trial]] = {}
    for trial in trials:
        stacks.setdefault(stack_key(Design(trial.head, trial.fit)), []).append(trial)
    for stack in stacks.values():
        most = max(1, STACK_BYTES // (seeds * _head_bytes(stack[0], num_features, num_classes)))
        number = math.ceil(len(stack) / most)
        for first in range(number):
            # Every so-manieth: neighbours in a grid are alike, and halving compares within a group.
            yield Group(tuple(stack[first::number]), features)


def _head_bytes(trial: Trial, num_features: int, num_classes: int) -> int:
    """Memory that one head takes while it trains."""
    widths = [num_features, *trial.head.hidden, num_classes]
    weights = sum(one * two for one, two in pairwise(widths))
    rows = trial.fit.batch_size or 256
    # With dropout each head has a batch of its own, whose mask and product exist at once.
    activations = 3 * rows * (sum(widths) if trial.head.dropout else sum(widths[1:]))
    return 4 * (COPIES * weights + activations)
