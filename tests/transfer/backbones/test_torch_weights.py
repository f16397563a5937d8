"""Reading PyTorch's old format, on files written here with a real pickler and no PyTorch."""

import io
import os
import pickle
import struct
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transfer.backbones.torch_weights import read_torch_weights
from transfer.errors import InputError

STORAGES = {"f8": "Double", "f4": "Float", "f2": "Half", "i8": "Long", "i4": "Int", "u1": "Byte"}


@pytest.fixture(scope="module", autouse=True)
def torch_names():
    """A `torch` with only the names that a state dictionary refers to."""

    def _rebuild_tensor_v2():
        raise AssertionError("only its name is written")

    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(torch, f"{name}Storage", type(f"{name}Storage", (), {"__module__": "torch"}))
    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch._utils = utils
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", torch)
        patch.setitem(sys.modules, "torch._utils", utils)
        yield


class Storage:
    def __init__(self, key, elements):
        self.key, self.elements = key, elements


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class StatePickler(pickle.Pickler):
    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        kind = getattr(sys.modules["torch"], f"{STORAGES[obj.elements.dtype.str[1:]]}Storage")
        return ("storage", kind, obj.key, "cpu", len(obj.elements), None)


def old_format(state, storages, replace=None):
    """The bytes of a file; `replace` puts another object in place of one of the five pickles."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [0x1950A86A20F9469CFC6C, 1001, system, state, sorted(s.key for s in storages)]
    for index, value in (replace or {}).items():
        parts[index] = value
    file = io.BytesIO()
    for part in parts:
        StatePickler(file, protocol=2).dump(part)
    for storage in sorted(storages, key=lambda storage: storage.key):
        file.write(struct.pack("<q", len(storage.elements)) + storage.elements.tobytes())
    return file.getvalue()


def contiguous(key, array):
    strides = tuple(stride // array.itemsize for stride in array.strides)
    storage = Storage(key, array.ravel())
    return storage, Tensor(storage, 0, array.shape, strides)


def small_file():
    pairs = [contiguous("7", np.arange(6, dtype="<f4").reshape(2, 3)), contiguous("8", np.ones(2))]
    return old_format(OrderedDict(a=pairs[0][1], b=pairs[1][1]), [storage for storage, _ in pairs])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.sampled_from(list(STORAGES)), st.lists(st.integers(0, 4), max_size=4)),
        max_size=5,
    )
)
def test_random_tensors_come_back_bit_for_bit(tmp_path, specs):
    generator = np.random.default_rng(0)
    arrays = {
        f"layer.{index}": (generator.normal(size=shape) * 100).astype(f"<{kind}")
        for index, (kind, shape) in enumerate(specs)
        if kind != "u1"
    }
    pairs = {name: contiguous(str(i), array) for i, (name, array) in enumerate(arrays.items())}
    state = OrderedDict((name, tensor) for name, (_, tensor) in pairs.items())
    (tmp_path / "w.pth").write_bytes(old_format(state, [storage for storage, _ in pairs.values()]))
    read = read_torch_weights(tmp_path / "w.pth")
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_views_share_a_storage_with_offset_and_strides(tmp_path):
    storage = Storage("1", np.arange(12, dtype="<f4"))
    state = OrderedDict(
        transposed=Tensor(storage, 0, (4, 3), (1, 4)), tail=Tensor(storage, 7, (5,), (1,))
    )
    (tmp_path / "w.pth").write_bytes(old_format(state, [storage]))
    read = read_torch_weights(tmp_path / "w.pth")
    np.testing.assert_array_equal(read["transposed"], np.arange(12).reshape(3, 4).T)
    np.testing.assert_array_equal(read["tail"], [7, 8, 9, 10, 11])


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (13,), (1,)), (1, (12,), (1,)), (-1, (2,), (1,)), (11, (2,), (-1,)), (0, (9**9,), (0,))],
)
def test_tensor_outside_its_storage_is_refused(tmp_path, offset, shape, strides):
    storage = Storage("1", np.arange(12, dtype="<f4"))
    state = OrderedDict(x=Tensor(storage, offset, shape, strides))
    (tmp_path / "w.pth").write_bytes(old_format(state, [storage]))
    with pytest.raises(InputError, match="outside its storage"):
        read_torch_weights(tmp_path / "w.pth")


class Malicious:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("call", [os.system, eval, os.mkdir])
def test_code_in_any_of_the_five_pickles_is_refused_and_not_run(tmp_path, position, call):
    marker = tmp_path / "executed"
    argument = {
        os.system: f"touch {marker}",
        eval: f"open({str(marker)!r}, 'w')",
        os.mkdir: str(marker),
    }[call]
    data = old_format(OrderedDict(), [], replace={position: Malicious(call, argument)})
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(InputError, match=r"refused, it names '(posix|nt|__builtin__)") as caught:
        read_torch_weights(tmp_path / "w.pth")
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    # The same bytes do run under the plain unpickler: the file is a real attack.
    file = io.BytesIO(data)
    for _ in range(position + 1):
        pickle.load(file)
    assert marker.exists()


def test_a_dotted_name_does_not_slip_through(tmp_path):
    data = b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93."
    assert pickle.loads(data) == OrderedDict.fromkeys
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(InputError, match="refused, it names 'collections"):
        read_torch_weights(tmp_path / "w.pth")


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_file_cut_off_anywhere_is_an_input_error(tmp_path, data):
    whole = small_file()
    length = data.draw(st.integers(0, len(whole) - 1))
    (tmp_path / "w.pth").write_bytes(whole[:length])
    with pytest.raises(InputError):
        read_torch_weights(tmp_path / "w.pth")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_damaged_byte_gives_arrays_or_an_input_error(tmp_path, data):
    damaged = bytearray(small_file())
    position = data.draw(st.integers(0, len(damaged) - 1))
    damaged[position] = data.draw(st.integers(0, 255))
    (tmp_path / "w.pth").write_bytes(damaged)
    try:
        read = read_torch_weights(tmp_path / "w.pth")
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(array, np.ndarray) for array in read.values())


def test_missing_file_zip_format_and_other_contents_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_torch_weights(tmp_path / "missing.pth")
    for content in (b"PK\x03\x04" + bytes(100), b"", b"hello", pickle.dumps({"a": 1})):
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(InputError, match=r"non-zip \.pth"):
            read_torch_weights(tmp_path / "w.pth")
