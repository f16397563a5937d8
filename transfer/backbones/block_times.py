"""How long each block of a backbone takes."""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from transfer.backbones.blocks import Block, sources_of

if TYPE_CHECKING:
    import keras


def time_blocks(
    model: "keras.Model", blocks: Sequence[Block], num_images: int = 8, repetitions: int = 5
) -> list[float]:
    """Times one forward pass of each block, compiled, one after the other on the same images.

    Time is measured, for multiply-adds do not tell it: early blocks, whose maps are large, were
    seen to take up to three times their share of them, late ones two thirds (EfficientNetLite0 at
    160 pixels, 2 CPU cores). From one measurement to the next a share moves by about a fifth of
    itself. Each block is compiled as a model of its own, which for all of them together takes
    about as long as for the whole network; for prefixes of growing length it would be many times
    that.

    Args:
        model: A functional model with one input `(batch, height, width, 3)`.
        blocks: Its blocks, as `blocks_of` gives them.
        num_images: Random images that each pass sees.
        repetitions: Passes through all blocks, after a first one that compiles; what else the
            machine does meanwhile falls on all blocks alike.

    Returns:
        Median seconds of each block.
    """
    import keras
    import numpy as np

    pixels = np.random.default_rng(0).uniform(-1, 1, (num_images, *model.input_shape[1:]))
    (first,) = (name for name, read in sources_of(model).items() if not read)
    values = {first: keras.ops.convert_to_tensor(pixels, "float32")}
    passes = [_pass_of(block, model) for block in blocks]
    for run, inputs, outputs in passes:  # compiles
        values |= dict(zip(outputs, run([values[name] for name in inputs]), strict=True))
    times: list[list[float]] = [[] for _ in blocks]
    for _ in range(repetitions):
        for (run, inputs, _), seconds in zip(passes, times, strict=True):
            arguments = [values[name] for name in inputs]
            started = time.perf_counter()
            for output in run(arguments):
                # One value is there when all are; accelerators would go on without us.
                keras.ops.convert_to_numpy(output[0, 0, 0, 0])
            seconds.append(time.perf_counter() - started)
    return [median(seconds) for seconds in times]


def _pass_of(
    block: Block, model: "keras.Model"
) -> tuple[Callable[[Any], list], list[str], list[str]]:
    """A block's forward pass, and the names of operations that it reads from and leads on from."""
    import keras

    from transfer.backend.compiled import inference

    sources, inside = sources_of(model), set(block.operations)
    inputs = {one: None for name in block.operations for one in sources[name] if one not in inside}
    wanted = {one for name, read in sources.items() if name not in inside for one in read}
    wanted.update(model.output_names)
    outputs = [name for name in block.operations if name in wanted]
    tensors = {operation.name: operation.output for operation in model.operations}
    part = keras.Model([tensors[name] for name in inputs], [tensors[name] for name in outputs])
    return inference(part), list(inputs), outputs
