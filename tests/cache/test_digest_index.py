"""Digests are found where they are, whatever they are made of."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cache.digest_index import DigestIndex

# Few values, so that digests agree in long runs of bytes and some are the same.
DIGESTS = st.lists(st.lists(st.sampled_from([0, 1, 255]), min_size=32, max_size=32), max_size=20)


def table(digests):
    return np.array(digests, np.uint8).reshape(-1, 32)


@given(DIGESTS, DIGESTS, st.integers(1, 20))
def test_as_a_dict_would_find_them(known, wanted, rows_per_block):
    wanted = wanted + known
    first = {tuple(digest): row for row, digest in reversed([*enumerate(known)])}
    first.pop((0,) * 32, None)  # of an unknown image
    starts = range(0, len(known), rows_per_block)
    blocks = [table(known[start : start + rows_per_block]) for start in starts]
    found = DigestIndex(table(wanted)).find(blocks)
    assert found.tolist() == [first.get(tuple(digest), -1) for digest in wanted]


def test_digests_that_differ_in_one_bit_are_told_apart():
    rng = np.random.default_rng(0)
    known = rng.integers(0, 256, (1000, 32), np.uint8)
    wanted = known.copy()
    wanted[np.arange(1000), rng.integers(0, 32, 1000)] ^= 1
    assert np.array_equal(DigestIndex(known).find([known]), np.arange(1000))
    assert np.all(DigestIndex(wanted).find([known]) == -1)


def test_copies_without_number_are_no_square_of_pairs():
    same = np.ones((200_000, 32), np.uint8)
    found = DigestIndex(same).find([same, same])
    assert np.array_equal(found, np.zeros(200_000))
