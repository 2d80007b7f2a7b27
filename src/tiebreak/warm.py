"""What a process that does many runs keeps of one for the next; nothing unless it asks to.

The workers of a sweep ask: for data as token ids, and for start models that fresh ones are copied
from. When there is no room, what was used longest ago goes.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

SHARE = 50  # a worker keeps a fiftieth of the machine's memory at most


class Kept:
    """Values by key, within `room` bytes. Nobody may change them."""

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self._items: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable) -> Any:
        """None when it is not kept."""
        if key not in self._items:
            return None
        self._items.move_to_end(key)
        return self._items[key][0]

    def fits(self, size: int) -> bool:
        return max(size, 1) <= self.room

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value of so many bytes; not at all if it alone takes more than there is."""
        if not self.fits(size):
            return
        while self._items and size + sum(taken for _, taken in self._items.values()) > self.room:
            self._items.popitem(last=False)
        self._items[key] = value, size


kept = Kept()


def share_of_memory() -> int:
    """Bytes that a worker may keep."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // SHARE
