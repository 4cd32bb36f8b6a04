"""Any file as pieces of text, in constant memory: plain text, tables, token ids, archives, text amid binary data."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, Any, NamedTuple

from lethe.core.errors import StageError
from lethe.erasure.streams import CHUNK, Hashed, Passing
from lethe.text.formats import missing, read_format

AGAIN = 1 << 11  # bytes of the end of one chunk that are read again with the next
SIDE_BY_SIDE = 16  # streams that lie in each other's bytes: those that are none end soon
LARGEST = 1 << 35  # bytes that the archives of one file may unpack to
DEEPEST = 4  # archives in archives
GAPS = 7  # white space in eight words that something else cut
ZIP_END = 65_557  # bytes at the end of a zip archive that say where its files are
LETTERS = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]{24,}")
UNSPACED = ("shift_jis", "euc_jp", "gb18030", "big5", "cp874")  # of languages without spaces between words
SHORTEST = 24  # bytes: hardly any eight words are shorter
CLOSED = {  # first bytes of what holds text that is not unpacked here
    b"%PDF": "PDF",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"7z\xbc\xaf": "7z",
    b"Rar!": "RAR",
    b"\x04\x22\x4d\x18": "LZ4",
    b"-----BEGIN PGP": "PGP",
    b"-----BEGIN AGE": "age",
    b"age-encryption": "age",
    b"Salted__": "openssl",
    b"\x1f\x9d": "compress",
    b"LZIP": "lzip",
    b"MSCF": "CAB",
    b"ITSF": "CHM",
    b"hsqs": "squashfs",
}
PACKED: dict[bytes, Callable[..., Any]] = {
    **{b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open, b"]\0\0": lzma.open}
}
DEFLATED = re.compile(rb"x[\x01\x5e\x9c\xda]|\x1f\x8b\x08")  # how streams of zlib and gzip begin
TRIED = 512  # bytes of one that are unpacked to see whether it is one
ERRORS = (OSError, EOFError, ValueError, KeyError, NotImplementedError, RuntimeError, zlib.error, lzma.LZMAError,
          zipfile.BadZipFile, tarfile.TarError)  # fmt: skip


class UnreadError(Exception):
    """Why a file, or a part of it, could not be read as text."""


class Reader(NamedTuple):
    """decode: how token ids become text, None without a tokenizer. shortest: bytes of text amid other data.

    left: how many bytes the archives of this file may still unpack to, all together. codings: encodings beside UTF-8
    that what is no UTF-8 is read in, too. members: the hashes of what archives hold are put there, if it is given.
    """

    decode: Callable[[list[int]], str] | None
    shortest: int = SHORTEST
    left: list[int] = []  # noqa: RUF012 - empty means LARGEST
    codings: tuple[str, ...] = ()
    members: list[tuple[str, str]] | None = None


def pieces(stream: IO[bytes], reader: Reader, depth: int = 0) -> Iterator[str]:
    """The text of a file, piece by piece, in every reading that its first bytes suggest.

    Raises UnreadError at what cannot be unpacked; what was read until then has been given.
    """
    reader = reader if reader.left else reader._replace(left=[LARGEST])
    start = stream.read(16)
    stream.seek(0)
    closed = next((kind for magic, kind in CLOSED.items() if start.startswith(magic)), "")
    try:
        if start.startswith((b"PAR1", b"ARROW1")):
            yield from table(stream, reader)
        elif start.startswith(b"PK\x03\x04"):
            yield from zipped(stream, reader, depth)
        elif unpack := next((each for magic, each in PACKED.items() if start.startswith(magic)), None):
            yield from inside(unpack(stream), reader, depth)
        elif deflated(stream, start):
            yield from inside(Inflated(stream), reader, depth)  # type: ignore[arg-type]
        elif tarred(stream):
            yield from members(stream, reader, depth)
        else:
            if closed == "PDF":
                yield from pages(stream)
            if not depth and zip_at_end(stream):
                yield from zipped(stream, reader, depth)
                stream.seek(0)
            yield from plain(stream, start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), reader)
    except ERRORS as error:
        raise UnreadError(f"{type(error).__name__}: {(str(error).splitlines() or ['broken'])[0]}") from None
    if closed == "PDF" and not missing(".pdf"):
        raise UnreadError("PDF, of which nothing but text of pages that can be read is searched")
    if closed:
        raise UnreadError(f"{closed}, whose text is packed in a way that is not unpacked here")


def pages(stream: IO[bytes]) -> Iterator[str]:
    """The text of a PDF's pages, as far as it can be read: what pictures, forms and attachments say is not."""
    try:
        found = [] if missing(".pdf") else read_format(".pdf", stream.read(), "PDF")
    except StageError:
        found = []
    stream.seek(0)
    yield "\n".join(text for _, text in found)


def plain(stream: IO[bytes], marked: bool, reader: Reader) -> Iterator[str]:
    """Text as UTF-8; amid binary data the stretches that may be text, and UTF-16 where a mark or its zeros tell of it.

    marked: the first bytes are the mark of UTF-16. What they say is not believed: text of one kind may lie in another.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    stretch = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xf4]{%d,}" % reader.shortest)
    before, begun = b"", list[Any]()
    while chunk := stream.read(CHUNK):
        both = before + chunk
        if not marked and b"\0" not in both:
            yield decoder.decode(chunk)
        else:
            for place, coding in ((1, "utf-16-le"), (0, "utf-16-be")):  # Latin letters have a zero in one of two bytes
                if marked or (half := both[place::2]).count(0) > 0.5 * len(half):
                    yield both.decode(coding, "replace")
            for place, coding in ((3, "utf-32-le"), (0, "utf-32-be")):
                if (quarter := both[place::4]).count(0) > 0.9 * len(quarter):
                    yield both.decode(coding, "replace")
            found = [text for each in stretch.findall(both) if (text := likely(each))]
            yield "\n\0\n".join(["", *found])
        if reader.codings and (b"\0" in both or not is_utf8(both)):
            yield from legacy(both, reader.codings)
        yield from packed_in(before[-2:] + chunk, begun, reader)
        before = both[-AGAIN:]


def packed_in(content: bytes, begun: list[Any], reader: Reader) -> Iterator[str]:
    """The text of streams of zlib and gzip that lie in a piece of other data: in pictures, PDFs, bundles of git.

    begun: those that go on in the next piece. Two bytes of a piece were in the one before.
    """
    going, begun[:] = list(begun), []
    for unpacker in going:
        yield from unpacked(unpacker, memoryview(content)[2:], begun, reader)
    place, whole = 0, memoryview(content)
    while found := DEFLATED.search(content, place):
        place = found.end()
        with suppress(zlib.error):
            tried = zlib.decompressobj(47).decompress(whole[found.start() : found.start() + TRIED], TRIED)
            if tried:
                unpacker = zlib.decompressobj(47)
                yield from unpacked(unpacker, whole[found.start() :], begun, reader)
                place = len(content) - len(unpacker.unused_data) if unpacker.eof else place


def unpacked(unpacker: Any, content: Any, begun: list[Any], reader: Reader) -> Iterator[str]:
    """The text of one of them, as far as this piece of the file has it; it is noted in begun if it goes on."""
    while not unpacker.eof:
        try:
            held = unpacker.decompress(content, CHUNK)
        except zlib.error:
            return
        reader.left[0] -= len(held)
        if reader.left[0] < 0:
            raise ValueError(f"it unpacks to more than {LARGEST >> 30} GiB")
        if spaced(held) or b"\0" in held:
            yield from plain(io.BytesIO(held), False, reader)
        content = unpacker.unconsumed_tail
        if not content:
            begun.extend([] if unpacker.eof or len(begun) >= SIDE_BY_SIDE else [unpacker])
            return


def is_utf8(content: bytes) -> bool:
    """Whether it is UTF-8, but for a character that is cut at either end."""
    start = next((place for place in range(min(4, len(content))) if content[place] & 0xC0 != 0x80), 0)
    try:
        content[start:].decode()
    except UnicodeDecodeError as error:
        return error.end == len(content) and error.reason == "unexpected end of data"
    return True


def legacy(content: bytes, codings: tuple[str, ...]) -> Iterator[str]:
    """The same bytes in other encodings; of binary data only the stretches that may be text."""
    stretches = LETTERS.findall(content) if b"\0" in content else [content]
    gaps = b"\n\0\n".join(each for each in stretches if spaced(each))
    every = b"\n\0\n".join(stretches)
    for coding in ("utf-8", *codings):  # UTF-8 again: what comes before a piece is read in its encoding
        text = content if coding.startswith("utf-16") else every if coding in UNSPACED else gaps
        yield "\n\0\n" + text.decode(coding, "replace")


def likely(stretch: bytes) -> str:
    """A stretch of bytes as text, "" where it is none: numbers of weights are neither UTF-8 nor have many spaces."""
    if spaced(stretch):
        return stretch.decode(errors="replace")
    try:
        return stretch.decode()
    except UnicodeDecodeError:
        return ""


def spaced(stretch: bytes) -> bool:
    """Whether there is the white space of eight words in it."""
    return len(stretch) - len(stretch.translate(None, b" \t\r\n")) >= GAPS


def table(stream: IO[bytes], reader: Reader) -> Iterator[str]:
    """The texts of a parquet or an Arrow file, and its token ids as text. Raises UnreadError for ids without a
    tokenizer.
    """
    import pyarrow as pa

    try:
        schema, batches = opened_table(stream)
        yield "\n".join(value.decode(errors="replace") for value in (schema.metadata or {}).values())
        texts, tokens = columns(schema)
        for name in texts:
            for batch in batches(name):
                yield " ".join(str(value) for value in batch.to_pylist() if value is not None)
        decode = reader.decode
        for name in tokens if decode else ():
            for batch in batches(name):
                yield from (decode(row) for row in batch.to_pylist() if row and decode)
    except (pa.ArrowException, OverflowError, TypeError) as error:
        raise UnreadError(f"parquet: {(str(error).splitlines() or ['broken'])[0]}") from None
    if tokens and not reader.decode:
        raise UnreadError(f"token ids in {', '.join(tokens)}: no tokenizer is at hand")


def opened_table(stream: IO[bytes]) -> tuple[Any, Callable[[str], Iterator[Any]]]:
    """A table's schema, and a function of a column's name that gives its values batch by batch."""
    import pyarrow.parquet as pq
    from pyarrow import ipc

    start = stream.read(4)
    stream.seek(0)
    if start == b"PAR1":
        file = pq.ParquetFile(stream)
        return file.schema_arrow, lambda name: (each.column(0) for each in file.iter_batches(256, columns=[name]))
    arrow = ipc.open_file(stream)
    every = range(arrow.num_record_batches)
    return arrow.schema, lambda name: (arrow.get_batch(each).column(name) for each in every)


def columns(schema: Any) -> tuple[list[str], list[str]]:
    """The names of a table's columns of text, also in lists, and of lists of whole numbers."""
    import pyarrow as pa

    texts, tokens = [], []
    for field in schema:
        kind = getattr(field.type, "value_type", field.type)
        if pa.types.is_integer(kind) and kind is not field.type:
            tokens.append(field.name)
        elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            texts.append(field.name)
    return texts, tokens


def inside(stream: IO[bytes], reader: Reader, depth: int) -> Iterator[str]:
    """The text of an unpacked stream. Raises UnreadError where it is nested too deeply or far too long."""
    if depth >= DEEPEST:
        raise UnreadError(f"more than {DEEPEST} archives in each other")
    limited = Limited(stream, reader.left)
    if reader.members is None:
        yield from pieces(limited, reader, depth + 1)  # type: ignore[arg-type]
    else:
        hashed = Hashed(limited)  # type: ignore[arg-type]
        yield from pieces(hashed, reader, depth + 1)  # type: ignore[arg-type]
        reader.members.append(hashed.finish())


class Limited(Passing):
    """A stream that ends with an error after so many bytes: a small archive can unpack to any length."""

    def __init__(self, stream: IO[bytes], left: list[int]) -> None:
        self.stream, self.left = stream, left

    def read(self, size: int = -1) -> bytes:
        content = self.stream.read(CHUNK if size < 0 else size)
        self.left[0] -= len(content)
        if self.left[0] < 0:
            raise ValueError(f"it unpacks to more than {LARGEST >> 30} GiB")
        return content

    def seek(self, place: int, whence: int = 0) -> int:
        return self.stream.seek(place, whence)

    def tell(self) -> int:
        return self.stream.tell()


def deflated(stream: IO[bytes], start: bytes) -> bool:
    """Whether it is a stream of zlib, as git's loose objects are; the stream is at its start again."""
    if start[:1] != b"x" or int.from_bytes(start[:2], "big") % 31:
        return False
    try:
        return bool(zlib.decompressobj().decompress(stream.read(4096), 1))
    except zlib.error:
        return False
    finally:
        stream.seek(0)


class Inflated(Passing):
    """What a stream of zlib unpacks to, from its start again after `seek(0)`."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.place, self.unpacker = stream, 0, zlib.decompressobj()

    def read(self, size: int = -1) -> bytes:
        size = CHUNK if size < 0 else size
        content = b""
        while not content and not self.unpacker.eof and size:
            packed = self.unpacker.unconsumed_tail or self.stream.read(1 << 16)
            if not packed:
                raise EOFError("the packed data ends too early")
            content = self.unpacker.decompress(packed, size)
        self.place += len(content)
        return content

    def seek(self, place: int, whence: int = 0) -> int:
        if whence or place < self.place:
            self.stream.seek(0)
            self.unpacker, self.place = zlib.decompressobj(), 0
        while self.place < place and self.read(min(CHUNK, place - self.place)):
            pass
        return self.place


def zip_at_end(stream: IO[bytes]) -> bool:
    """Whether a zip archive lies behind something else, as in a picture; the stream is at its start again."""
    try:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - ZIP_END))
        found = b"PK\x05\x06" in stream.read(ZIP_END) and zipfile.is_zipfile(stream)
    except (OSError, ValueError):
        found = False
    stream.seek(0)
    return found


def zipped(stream: IO[bytes], reader: Reader, depth: int) -> Iterator[str]:
    """The text of every file in a zip archive, such as a .docx, .epub or .npz."""
    with zipfile.ZipFile(stream) as archive:
        for entry in archive.infolist():
            yield f"\n{entry.filename}\n"
            if not entry.is_dir():
                with archive.open(entry) as held:
                    yield from inside(held, reader, depth)


def tarred(stream: IO[bytes]) -> bool:
    """Whether it is a tar archive; the stream is at its start again."""
    stream.seek(257)
    found = stream.read(5) == b"ustar"
    stream.seek(0)
    return found


def members(stream: IO[bytes], reader: Reader, depth: int) -> Iterator[str]:
    """The text of every file in a tar archive."""
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        for entry in archive:
            yield f"\n{entry.name}\n"
            held = archive.extractfile(entry) if entry.isfile() else None
            if held:
                yield from inside(held, reader, depth)
