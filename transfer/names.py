r"""Names of files and classes as people and files of text can have them.

On POSIX a file's name is bytes. Python hands on bytes that are no UTF-8 as lone surrogates (PEP
383), which no file in UTF-8 can hold; and a name may hold what breaks a line or moves a cursor.
"""

import re

_NO_TEXT = re.compile("[\ud800-\udfff]")
_BREAKING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters, ends of lines, and marks that turn the direction of what follows."""


def is_utf8(name: str) -> bool:
    """Whether a file in UTF-8 can hold a name as it is."""
    return not _NO_TEXT.search(name)


def readable(name: str) -> str:
    r"""A name as a file in UTF-8 can hold it: `caf\xe9.jpg`, where a byte was E9 and no UTF-8."""
    return _NO_TEXT.sub(_escaped, name)


def shown(name: str) -> str:
    r"""A name in one line, for terminals and pictures: escaped are `\n`, `\x1b` and their like."""
    return _BREAKING.sub(_escaped, readable(name))


def _escaped(found: re.Match[str]) -> str:
    byte = ord(found[0]) - 0xDC00
    if 0x80 <= byte <= 0xFF:
        return f"\\x{byte:02x}"
    return found[0].encode("unicode_escape").decode()
