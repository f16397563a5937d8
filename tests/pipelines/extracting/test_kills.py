"""An extraction killed at any instant goes on, to the same file; at length: `make torture`."""

import numpy as np
import pytest

from tests.extractions import Extraction
from tests.torture import Kill, flip_parts, flip_sealed, survive

GROUPS = {
    "the backbone, in a part": (False, [Kill("event", "writing create_dataset:30", flips=True)]),
    "in the seal": (True, [Kill("event", "sealing __setitem__:20")]),
    "a part torn, a part flipped, the seal not renamed": (
        True,
        [
            Kill("byte", 50_000),
            Kill("event", "writing close:20", flips=True),
            Kill("event", "sealing replace:1"),
        ],
    ),
    "at a time, then the seal torn": (True, [Kill("second", 0.6), Kill("byte", 1_500_000)]),
    "while parts are removed": (True, [Kill("event", "after unlink:20")]),
}
STAGES = {
    "the backbone, in a part": {"writing": 1},
    "in the seal": {"sealing": 1},
    "a part torn, a part flipped, the seal not renamed": {"writing": 2, "sealing": 1},
    "at a time, then the seal torn": {"sealing": 1},
    "while parts are removed": {"after": 1},
}


@pytest.mark.parametrize("group", GROUPS)
def test_a_killed_extraction_ends_in_the_same_file(group, tmp_path):
    fast, kills = GROUPS[group]
    tally = survive(Extraction(tmp_path, fast), kills, np.random.default_rng(0))
    assert tally["struck too late"] == 0
    assert tally.items() >= STAGES[group].items()
    # What a kill by time leaves depends on the machine; all others leave rows to go on from.
    expected = {"byte": 0, "second": 0, "event": 1}
    assert tally["resumed"] >= (group != "while parts are removed") * expected[kills[-1].kind]


def test_flipped_bits_of_parts_are_found():
    tally = flip_parts(60, np.random.default_rng(1))
    # Half of the bits are features; of the rest, padding and unused space are harmless.
    assert tally["found"] > 30


def test_flipped_bits_of_sealed_files_are_found():
    tally = flip_sealed(40, np.random.default_rng(1))
    assert tally["found"] + tally["found by verify alone"] > 30
