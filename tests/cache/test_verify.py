"""Damage of any kind is found, named to the row, and never read as features."""

import numpy as np
import pytest

from cache import CacheError, FeatureFile, FeatureWriter, verify
from cache.verify import sound_rows
from tests.cache.test_cache import SHAPES, features_of, ids_of, make, seal
from tests.cache.test_spec import SPEC

SEEDS = range(200)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cache.writer.rows_per_part", lambda row_bytes: 64)
        patch.setattr("cache.parts.CHUNK_BYTES", 512)
        return make(tmp_path_factory.mktemp("store"), 500, bad=(7, 300)).read_bytes()


def everything_in(path):
    """All that a reader can get out of a file."""
    with FeatureFile(path) as file:
        tables = (file.labels, file.ids, file.given_split, file.image_digests, file.parts)
        texts = (file.key, file.spec, file.cuts, file.class_names, file.skipped)
        features = [file.read(np.arange(len(file)), [cut]) for cut in file.cuts]
        return [*map(np.array, tables), *features], texts


def damage(data, seed):
    """Flips a byte, or zeroes or cuts off a block, anywhere; every eighth cuts the end off."""
    rng = np.random.default_rng(seed)
    damaged = bytearray(data)
    offset = int(rng.integers(len(data)))
    kind = seed % 8
    if kind == 0:
        del damaged[offset:]
    elif kind == 1:
        damaged[offset : offset + 512] = bytes(len(damaged[offset : offset + 512]))
    else:
        damaged[offset] ^= int(rng.integers(1, 256))
    return bytes(damaged)


@pytest.mark.parametrize("first", range(0, 200, 25))
def test_no_damage_is_read_as_features(sealed, tmp_path, first):
    whole, path = tmp_path / "whole.h5", tmp_path / "damaged.h5"
    whole.write_bytes(sealed)
    arrays, texts = everything_in(whole)
    noticed = 0
    for seed in SEEDS[first : first + 25]:
        path.write_bytes(damage(sealed, seed))
        try:
            found_arrays, found_texts = everything_in(path)
        except CacheError:
            noticed += 1
            continue
        # Nothing was noticed: then nothing may differ.
        assert found_texts == texts
        for found, expected in zip(found_arrays, arrays, strict=True):
            np.testing.assert_array_equal(found, expected)
    assert noticed >= 10  # the features alone fill most of the file


@pytest.mark.parametrize("seed", SEEDS[::10])
def test_verify_notices_what_reading_notices(sealed, tmp_path, seed):
    path = tmp_path / "damaged.h5"
    path.write_bytes(damage(sealed, seed))
    try:
        with FeatureFile(path) as file:
            sound = verify(file).is_sound
    except CacheError:
        sound = False
    try:
        everything_in(path)
    except CacheError:
        assert not sound


def chunk_offset(path, cut, row):
    with FeatureFile(path) as file:
        rows = file.rows_per_chunk(cut)
        width = int(np.prod(file.shape(cut))) * 4
        return file._offsets_of(cut)[row // rows] + row % rows * width


def test_verify_names_exactly_the_damaged_rows(sealed, tmp_path):
    path = tmp_path / "damaged.h5"
    path.write_bytes(sealed)
    data = bytearray(sealed)
    for cut, row in (("z_first", 5), ("z_first", 6), ("a_second", 497)):
        data[chunk_offset(path, cut, row) + 4] ^= 0x10
    path.write_bytes(data)
    with FeatureFile(path) as file:
        found = verify(file)
        assert not found.is_sound
        assert {cut: rows.tolist() for cut, rows in found.damaged.items()} == {
            "z_first": [5, 6],
            "a_second": [497],
        }
        assert found.rows.tolist() == [5, 6, 497]
        assert np.flatnonzero(~sound_rows(file, "z_first")).tolist() == [5, 6]
        for rows in (np.array([5]), np.arange(64)):  # a few rows, and whole chunks
            with pytest.raises(CacheError, match=r"rows \d+ to \d+ .* are damaged"):
                file.read(rows, ["z_first"])
        np.testing.assert_array_equal(
            file.read(np.array([4, 7]), ["z_first"]), features_of([4, 8])["z_first"]
        )
        np.testing.assert_array_equal(
            file.read(np.arange(100, 110), ["a_second"]),
            features_of(range(101, 111))["a_second"],  # row 7 was set aside
        )


def test_a_chunk_that_cannot_be_unpacked_is_damaged_even_if_it_was_all_zeros(tmp_path, monkeypatch):
    monkeypatch.setattr("cache.parts.CHUNK_BYTES", 512)
    writer = FeatureWriter(tmp_path, SPEC, ids_of(150), SHAPES, compression="zstd")
    zeros = {name: np.zeros((150, *shape)) for name, shape in SHAPES.items()}
    writer.write(np.arange(150), zeros)
    path = seal(writer)
    with FeatureFile(path) as file:
        chunk = file._file["features/z_first"].id.get_chunk_info(1)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + 4] ^= 1
    path.write_bytes(data)
    with FeatureFile(path) as file:
        damaged = np.arange(32, 64)
        assert np.flatnonzero(~sound_rows(file, "z_first")).tolist() == damaged.tolist()
        np.testing.assert_array_equal(verify(file).damaged["z_first"], damaged)
        with pytest.raises(CacheError):
            file.read_sound_rows("z_first", damaged)


def test_a_sound_file_is_sound(sealed, tmp_path):
    path = tmp_path / "whole.h5"
    path.write_bytes(sealed)
    with FeatureFile(path) as file:
        found = verify(file)
    assert found.is_sound and found.num_rows == 498 and not len(found.rows)
