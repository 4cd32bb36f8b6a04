"""What every stream has in common that passes on the bytes of another one, and one that hashes them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import IO, Any

CHUNK = 1 << 21  # bytes read at once
ENDLESS = b"\xff\xff\xff\xff"  # how a table of Arrow that is a stream begins


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


class Limited(Passing):
    """A stream that ends with an error after so many bytes: a small archive can unpack to any length."""

    def __init__(self, stream: IO[bytes], left: list[int]) -> None:
        self.stream, self.left = stream, left

    def read(self, size: int = -1) -> bytes:
        content = self.stream.read(CHUNK if size < 0 else size)
        self.left[0] -= len(content)
        if self.left[0] < 0:
            raise ValueError("it unpacks to more than archives of one file may")
        return content

    def seek(self, place: int, whence: int = 0) -> int:
        return self.stream.seek(place, whence)

    def tell(self) -> int:
        return self.stream.tell()


class Inflated(Passing):
    """What a packed stream unpacks to, and those that follow it at once; from its start again after `seek(0)`.

    kind: makes what unpacks one of them. magic: how each of them begins.
    """

    def __init__(self, stream: IO[bytes], kind: Callable[[], Any], magic: bytes) -> None:
        self.stream, self.kind, self.magic = stream, kind, magic
        self._begin()

    def _begin(self) -> None:
        self.stream.seek(0)
        self.place, self.unpacker, self.waiting, self.left = 0, self.kind(), b"", 0

    def read(self, size: int = -1) -> bytes:
        size = CHUNK if size < 0 else size
        content = b""
        while not content and not self.unpacker.eof and size:
            hungry = getattr(self.unpacker, "needs_input", True)
            packed = getattr(self.unpacker, "unconsumed_tail", b"") or (self._next() if hungry else b"")
            if hungry and not packed:
                raise EOFError("the packed data ends too early")
            content = self.unpacker.decompress(packed, size)
            if self.unpacker.eof:
                after = self.unpacker.unused_data or self.stream.read(1 << 16)
                self.left = len(after)
                if after.startswith(self.magic):
                    self.unpacker, self.waiting = self.kind(), after
        self.place += len(content)
        return content

    def _next(self) -> bytes:
        packed, self.waiting = self.waiting or self.stream.read(1 << 16), b""
        return packed

    def seek(self, place: int, whence: int = 0) -> int:
        if whence or place < self.place:
            self._begin()
        while self.place < place and self.read(min(CHUNK, place - self.place)):
            pass
        return self.place

    def end(self) -> int:
        """Where the packed data ends in the stream."""
        while self.read(CHUNK):
            pass
        return self.stream.tell() - self.left
