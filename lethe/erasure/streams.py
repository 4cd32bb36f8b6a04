"""What every stream has in common that passes on the bytes of another one, and one that hashes them."""

from __future__ import annotations

import hashlib
import io
from typing import IO

CHUNK = 1 << 21  # bytes read at once


class Passing(io.RawIOBase):
    """A stream that is read and sought, and knows its place; `read` and `seek` are its own."""

    place = 0  # bytes from its start

    def tell(self) -> int:
        return self.place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class Hashed(Passing):
    """A stream whose bytes are hashed as they are read: all of them, and of safetensors those after the header."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.place, self.done = stream, 0, 0
        self.whole, self.body, self.start = hashlib.md5(), hashlib.md5(), b""

    def read(self, size: int = -1) -> bytes:
        content = self.stream.read(CHUNK if size < 0 else size)
        if self.place <= self.done < self.place + len(content):
            self._hash(content[self.done - self.place :])
        self.place += len(content)
        return content

    def _hash(self, content: bytes) -> None:
        self.whole.update(content)
        self.start += content[: 8 - len(self.start)]
        after = 8 + int.from_bytes(self.start, "little")
        self.body.update(content[max(after - self.done, 0) :])
        self.done += len(content)

    def seek(self, place: int, whence: int = 0) -> int:
        self.place = self.stream.seek(place, whence)
        return self.place

    def finish(self) -> tuple[str, str]:
        """(md5 of all bytes, md5 of the bytes after a safetensors header), after reading what was not read yet."""
        if self.place != self.done:
            self.seek(self.done)
        while self.read(CHUNK):
            pass
        return self.whole.hexdigest(), self.body.hexdigest()
