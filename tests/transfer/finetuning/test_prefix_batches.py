"""Batches of what a prefix made: of the rows asked for, in views drawn anew."""

import numpy as np
import pytest

from transfer.finetuning.prefix_batches import PrefixBatches

IMAGES, VIEWS = 30, 3
ROWS = np.arange(4, 27, 2)


def outputs(dtype=np.float16):
    """Of two inputs, where each number says of which image and view it is."""
    coded = 10 * np.arange(IMAGES)[:, None] + np.arange(VIEWS)
    first = np.broadcast_to(coded[:, :, None, None, None], (IMAGES, VIEWS, 2, 2, 4))
    return [first.astype(dtype), -coded[:, :, None].repeat(5, axis=2).astype(dtype)]


def epoch(batches):
    """Images and views in the order in which they came."""
    parts = [batches[index] for index in range(len(batches))]
    batches.on_epoch_end()
    first, second = (np.concatenate(each) for each in zip(*parts, strict=True))
    assert first.dtype == second.dtype == np.float32
    codes = first[:, 0, 0, 0]
    np.testing.assert_array_equal(first, np.broadcast_to(codes[:, None, None, None], first.shape))
    np.testing.assert_array_equal(second, -codes[:, None].repeat(5, axis=1))
    return codes.astype(int) // 10, codes.astype(int) % 10


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_every_row_comes_once_and_views_are_drawn_anew(dtype):
    batches = PrefixBatches(outputs(dtype), ROWS, 5, seed=3)
    assert [len(batches[index][0]) for index in range(len(batches))] == [5, 5, 2]
    seen = [epoch(batches) for _ in range(20)]
    for images, _ in seen:
        np.testing.assert_array_equal(np.sort(images), ROWS)
    of_one = [dict(zip(*each, strict=True))[ROWS[0]] for each in seen]
    assert set(of_one) == set(range(VIEWS)), "each image in each view, sooner or later"
    assert {tuple(images) for images, _ in seen} != {tuple(seen[0][0])}


def test_a_seed_and_an_epoch_decide():
    batches, same = (PrefixBatches(outputs(), ROWS, 5, seed=3) for _ in range(2))
    later, other = (
        PrefixBatches(outputs(), ROWS, 5, 3, epoch=2),
        PrefixBatches(outputs(), ROWS, 5, 4),
    )
    seen = [epoch(batches) for _ in range(3)]
    for one, two in zip(seen, [epoch(same) for _ in range(3)], strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(seen[2], epoch(later))
    assert not np.array_equal(seen[0], epoch(other))


def test_without_a_seed_images_come_in_order_and_in_their_first_view():
    batches = PrefixBatches(outputs(), ROWS, 5)
    for _ in range(2):
        images, views = epoch(batches)
        np.testing.assert_array_equal(images, ROWS)
        assert not views.any()
