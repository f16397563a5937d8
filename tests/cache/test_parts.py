"""A part gives back what was written, or says that it is damaged."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache.errors import CacheError
from cache.parts import Part
from tests.cache.test_spec import SPEC


def written(path, num_rows, widths):
    part = Part(path, 0, num_rows)
    rng = np.random.default_rng(num_rows)
    values = {f"cut{width}": rng.random((num_rows, width), np.float32) for width in widths}
    part.write(SPEC, values, {}, np.zeros((num_rows, 32), np.uint8))
    return part, values


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    num_rows=st.integers(1, 300),
    widths=st.sets(st.integers(1, 50), min_size=1, max_size=3),
    chunk_bytes=st.integers(1, 10_000),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
def test_whatever_the_chunks_one_flipped_bit_is_found(
    tmp_path_factory, num_rows, widths, chunk_bytes, place, bit
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cache.parts.CHUNK_BYTES", chunk_bytes)
        part, values = written(tmp_path_factory.mktemp("part") / "0.h5", num_rows, sorted(widths))
    names = list(values)
    stored = part.stored(names)
    for name, offset in zip(names, stored.offsets, strict=True):
        found, checksums = part.read(name)
        np.testing.assert_array_equal(found, values[name])
        assert checksums.offsets == (offset,)
    content = bytearray(part.path.read_bytes())
    content[stored.offsets[0] + int(place * values[names[0]].nbytes)] ^= 1 << bit
    part.path.write_bytes(content)
    with pytest.raises(CacheError, match="checksum differs"):
        part.read(names[0])
    assert not part.is_sound(SPEC.key, names)
