"""What every stream has in common that passes on the bytes of another one."""

from __future__ import annotations

import io


class Passing(io.RawIOBase):
    """A stream that is read and sought, and knows its place; `read` and `seek` are its own."""

    place = 0  # bytes from its start

    def tell(self) -> int:
        return self.place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
