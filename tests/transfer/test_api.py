"""What `import transfer` and its rooms hand on: all that their stubs list, and only when used."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import transfer

ROOMS = sorted(path.parent.name for path in Path(transfer.__file__).parent.glob("*/__init__.pyi"))


@pytest.mark.parametrize("name", ["transfer", *(f"transfer.{room}" for room in ROOMS)])
def test_every_name_that_is_listed_is_there(name):
    module = import_module(name)
    assert module.__all__
    for each in module.__all__:
        assert getattr(module, each).__doc__, each
    with pytest.raises(AttributeError, match="nothing"):
        module.nothing  # noqa: B018


def test_importing_all_rooms_loads_nothing_but_them():
    program = (
        f"import sys, transfer; {'; '.join(f'import transfer.{room}' for room in ROOMS)}\n"
        "heavy = {'numpy', 'PIL', 'keras', 'tensorflow', 'h5py', 'matplotlib', 'sklearn'}\n"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
