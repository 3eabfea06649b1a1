"""Whether a MATLAB file of format 5 to 7.2 is laid out as it says: on one that is not, SciPy's reader may crash.

Only what the toolkit reads is let through: cells, structs, texts and full arrays of numbers.
"""

import struct
import zlib
from collections.abc import Collection
from typing import NamedTuple

HEADER = 128
ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
"""Byte orders, by how the header ends."""
HDF5 = (b"\x00\x02IM", b"\x02\x00MI")
MATRIX, COMPRESSED = 14, 15
NUMBERS = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18})
"""Types of the elements that hold numbers or texts."""
CELL, STRUCT, PLAIN = 1, 2, frozenset({4, *range(6, 16)})
"""Classes of arrays; the last are texts and numbers."""
COMPLEX = 0x800
MOST_BYTES = 2**33


class Leaf(NamedTuple):
    """Where the bytes of an element without others in it begin, how many they are, and where the next element is."""

    begin: int
    size: int
    after: int


class Elements:
    """The elements of `data`, whose numbers are in the byte order `<` or `>`."""

    def __init__(self, data: bytes, order: str) -> None:
        self.data = data
        self._tag, self._word = struct.Struct(f"{order}II").unpack_from, struct.Struct(f"{order}i").unpack_from

    def body(self, place: int) -> tuple[int, int, int]:
        """The type of the element at `place`, and where its bytes begin and end."""
        kind, size = self._tag(self.data, place)
        need(place + 8 + size <= len(self.data))
        return kind, place + 8, place + 8 + size

    def leaf(self, place: int) -> Leaf:
        kind, size = self._tag(self.data, place)
        if kind >> 16:  # up to four bytes are in the tag itself
            need(kind & 0xFFFF in NUMBERS and kind >> 16 <= 4)
            return Leaf(place + 4, kind >> 16, place + 8)
        need(kind in NUMBERS)
        return Leaf(place + 8, size, place + 8 + (size + 7) // 8 * 8)

    def name(self, place: int) -> bytes:
        """The name of the array at `place`; empty for an empty array."""
        _, begin, end = self.body(place)
        if begin == end:
            return b""
        name = self.leaf(self.leaf(self.leaf(begin).after).after)
        return self.data[name.begin : name.begin + name.size]

    def check(self, place: int) -> int:
        """Goes through the array at `place`; where the next one is."""
        kind, begin, end = self.body(place)
        need(kind == MATRIX)
        if begin == end:
            return end
        flags, dims = self.leaf(begin), self.leaf(self.leaf(begin).after)
        (word,) = self._word(self.data, flags.begin)
        place, count = self.leaf(dims.after).after, 1
        for one in range(dims.begin, dims.begin + dims.size, 4):
            count *= self._word(self.data, one)[0]
        need(count >= 0)
        if word & 0xFF == CELL:
            place = self.check_all(place, count)
        elif word & 0xFF == STRUCT:
            longest, names = self.leaf(place), self.leaf(self.leaf(place).after)
            (length,) = self._word(self.data, longest.begin)
            need(length > 0)
            place = self.check_all(names.after, count * (names.size // length))
        else:
            need(word & 0xFF in PLAIN)
            for _ in range(2 if word & COMPLEX else 1):
                place = self.leaf(place).after
        need(place == end)
        return end

    def check_all(self, place: int, count: int) -> int:
        for _ in range(count):
            place = self.check(place)
        return place


def check_layout(content: bytes, names: Collection[str]) -> None:
    """Goes through the variables of these names.

    Raises ValueError where elements do not fit into each other, NotImplementedError for format 7.3, which is HDF5.
    """
    if content[HEADER - 4 : HEADER] in HDF5:
        raise NotImplementedError("format 7.3")
    if (order := ORDERS.get(content[HEADER - 4 : HEADER])) is None:
        raise ValueError("it does not begin as one of format 5 to 7.2")
    place, outer = HEADER, Elements(content, order)
    try:
        while place < len(content):
            kind, begin, end = outer.body(place)
            inner, start = outer, place
            if kind == COMPRESSED:
                inner, start = Elements(zlib.decompressobj().decompress(content[begin:end], MOST_BYTES), order), 0
            if inner.name(start).decode("latin-1") in names:
                inner.check(start)
            place = end
    except (struct.error, zlib.error, RecursionError) as error:
        raise ValueError(f"it is damaged or cut short: {error}") from error


def need(is_right: bool) -> None:
    if not is_right:
        raise ValueError("it is damaged: its parts do not fit into each other")
