"""Blocks of a backbone: the units that its family is made of, and where the network narrows to one.

The grouping follows the graph. Names only say where a block is; they are looked up in any network
whose layers bear them, also one that was cut or read from a file and forgot its family.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

STEM = "stem"
"""Name of what comes before the first block."""
TOP = "top"
"""Name of what comes behind the last block."""

# What the name of an operation says of its block: the groups, joined. Families whose inner layers
# have automatic names (Inception, NASNet) name the layer alone that a block ends with.
_NAMES = re.compile(
    "|".join(
        (
            r"(block\d+(?:[a-z]|_\d+)?)_",  # EfficientNets, VGG, Xception, InceptionResNetV2
            r"(mixed\d+)$",  # InceptionV3
            r"(mixed_\d[a-z])$",  # InceptionResNetV2
            r"(conv)_(?:pad|dw|pw)(_\d+)",  # MobileNet
            r"(block_\d+)_",  # MobileNetV2
            r"(expanded_conv(?:_\d+)?)_",  # MobileNetV2, MobileNetV3
            r"(conv\d_block\d+)_",  # ResNets, DenseNet
            r"(pool[2-9])_",  # DenseNet's transitions; pool1 is a part of the stems
            r"((?:normal|reduction)_concat_\w+)$",  # NASNet
            r"convnext_\w+?_(stage_\d_block_\d+)_",
            r"convnext_\w+?_(downsampling_block_\d)$",
        )
    )
)


@dataclass(frozen=True)
class Block:
    """Operations of a backbone that belong together.

    Attributes:
        name: What people call it: `block4a`, `block_13`, `mixed8`, `conv4_block2`; `stem` and
            `top` are what lies before the first and behind the last of these.
        operations: Names of the model's operations, from the input towards the top.
        output: Name of the operation whose output alone leads on, that is, all paths to the
            model's outputs run through it; None where there is none, and nothing can be cut.
    """

    name: str
    operations: tuple[str, ...]
    output: str | None


def blocks_of(model: "keras.Model") -> tuple[Block, ...]:
    """Groups a backbone's operations into the blocks of its family.

    A block holds whatever its last operation needs and no block before it holds; so the layers of
    parallel branches, which alternate in the order of the model, are told apart by the graph.

    Args:
        model: A backbone of the table without its top, as built or cut.

    Returns:
        The blocks from the input to the top; each operation but the input is in exactly one. A
        network of another family is one block, `top`.
    """
    sources = sources_of(model)
    ends = _ends(list(sources), _lone(sources, [list(sources)[-1]]))
    leading = set(separators(model))
    taken = {name for name, before in sources.items() if not before}
    blocks = []
    for name, end in ends.items():
        members = needed_for(end, sources) - taken
        taken |= members
        ordered = tuple(one for one in sources if one in members)
        blocks.append(Block(name, ordered, end if end in leading else None))
    if rest := tuple(one for one in sources if one not in taken):
        blocks.append(Block(TOP, rest, rest[-1] if rest[-1] in leading else None))
    return tuple(blocks)


def sources_of(model: "keras.Model") -> dict[str, tuple[str, ...]]:
    """The graph of a functional model.

    Returns:
        Each operation's name, in the order of computation, with the names of those whose outputs
        it reads; the input reads none.
    """
    import keras

    maker = {id(operation.output): operation.name for operation in model.operations}
    return {
        operation.name: ()
        if isinstance(operation, keras.layers.InputLayer)
        else tuple(maker[id(tensor)] for tensor in keras.tree.flatten(operation.input))
        for operation in model.operations
    }


def separators(model: "keras.Model") -> tuple[str, ...]:
    """Names the operations whose output alone leads on: all paths to the outputs run through them.

    Args:
        model: A functional model; with several outputs, what lies behind the first leads on to the
            others alone, and is none.

    Returns:
        Names from the input to the top, without the input itself.
    """
    sources = sources_of(model)
    return tuple(name for name in _lone(sources, model.output_names) if sources[name])


def _lone(sources: dict[str, tuple[str, ...]], outputs: Iterable[str]) -> list[str]:
    """Those behind which nothing else is still needed."""
    last_use = {source: name for name, before in sources.items() for source in before}
    last_use |= dict.fromkeys(outputs, "")  # needed to the end
    found: list[str] = []
    needed: set[str] = set()
    for name in sources:
        needed = {one for one in needed if last_use.get(one, name) != name} | {name}
        if len(needed) == 1:
            found.append(name)
    return found


def _ends(names: list[str], lone: list[str]) -> dict[str, str]:
    """Each block's last operation, the stem's included, in order.

    It is the last one that bears the block's name, or where that is in a branch, the operation
    that joins the branches, before the next block begins.
    """
    place = {name: number for number, name in enumerate(names)}
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for name, block in _named(names):
        first.setdefault(block, place[name])
        last[block] = place[name]
    if not last:
        return {}
    ends = {}
    if stem := [name for name in lone[1:] if place[name] < min(first.values())]:  # 0 is the input
        ends[STEM] = stem[-1]
    ordered = sorted(last, key=lambda block: last[block])
    for block, following in zip_longest(ordered, ordered[1:]):
        limit = first[following] if following else len(names)
        joins = [name for name in lone if last[block] <= place[name] < limit]
        ends[block] = joins[0] if joins else names[last[block]]
    return ends


def _named(names: list[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        if found := _NAMES.match(name):
            yield name, "".join(filter(None, found.groups()))


def needed_for(name: str, sources: Mapping[str, tuple[str, ...]], until: str = "") -> set[str]:
    """Names an operation and all that it is computed from.

    Args:
        name: Of the operation.
        sources: From `sources_of`.
        until: One behind which nothing is looked at.
    """
    found: set[str] = set()
    waiting = [name]
    while waiting:
        if (one := waiting.pop()) not in found:
            found.add(one)
            waiting.extend(sources[one] if one != until else ())
    return found
