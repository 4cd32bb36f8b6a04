"""Any file as pieces of text, in constant memory: plain text, tables, token ids, archives, text amid binary data."""

from __future__ import annotations

import bz2
import codecs
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
from lethe.erasure.streams import CHUNK, ENDLESS, Hashed, Inflated, Limited
from lethe.text.formats import missing, read_format

AGAIN = 1 << 11  # bytes of the end of one chunk that are read again with the next
SIDE_BY_SIDE = 16  # streams that lie in each other's bytes: those that are none end soon
LARGEST = 1 << 35  # bytes that the archives of one file may unpack to
START = 68  # bytes that tell what a file is
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
    b"ORC": "ORC",
    b"Obj\x01": "Avro",
    b"PARE": "encrypted parquet",
    b"\xff\x06\0\0sNaPpY": "snappy",
    b"xar!": "xar",
    b"\xed\xab\xee\xdb": "RPM",
    b"LRZI": "lrzip",
    b"LUKS\xba\xbe": "LUKS",
}
CLOSED_AT = ((8, b"DUCK", "DuckDB"), (60, b"BOOKMOBI", "Mobipocket"), (2, b"-lh5-", "LHA"))
PACKED: dict[bytes, Callable[[], Any]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(31),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ": lzma.LZMADecompressor,
    b"]\0\0": lzma.LZMADecompressor,
}
DEFLATED = re.compile(  # how streams of zlib, gzip, bzip2 and xz begin
    rb"x[\x01\x5e\x9c\xda]|\x1f\x8b\x08|BZh[1-9]1AY&SY|\xfd7zXZ\0"
)
WIDE = {  # Latin letters of UTF-16 and UTF-32 amid other data, but for the first one
    "utf-16-be": re.compile(rb"\0[\t\n\r\x20-\x7e\xa0-\xff](?:\0[\t\n\r\x20-\x7e\xa0-\xff]){22,}"),
    "utf-32-be": re.compile(rb"\0\0\0[\t\n\r\x20-\x7e\xa0-\xff](?:\0\0\0[\t\n\r\x20-\x7e\xa0-\xff]){22,}"),
}
DENSE = re.compile(r"\d(?:[^\d]{0,8}\d){15}")
NUMBERS = re.compile(r"(?:(?:0x[0-9a-fA-F]{1,6}|\d{1,6})[\s,;]{1,4}){24,}(?:0x[0-9a-fA-F]{1,6}|\d{1,6})?")
LISTED = re.compile(rb"(?:[A-Za-z']|\xc3[\x80-\xbf])+")  # words amid other data
FEWEST = 64  # token ids in a row of which each is one of the vocabulary: numbers of weights are not
TRIED = 512  # bytes of one that are unpacked to see whether it is one
ERRORS = (OSError, EOFError, ValueError, KeyError, NotImplementedError, RuntimeError, zlib.error, lzma.LZMAError,
          zipfile.BadZipFile, tarfile.TarError)  # fmt: skip


class UnreadError(Exception):
    """Why a file, or a part of it, could not be read as text."""


class Reader(NamedTuple):
    """decode: how token ids become text, None without a tokenizer. shortest: bytes of text amid other data.

    left: how many bytes the archives of this file may still unpack to, all together. codings: encodings beside UTF-8
    that what is no UTF-8 is read in, too. members: the hashes of what archives hold are put there, if it is given.
    vocabulary: how many token ids there are, 0 where they are not known.
    """

    decode: Callable[[list[int]], str] | None
    shortest: int = SHORTEST
    left: list[int] = []  # noqa: RUF012 - empty means LARGEST
    codings: tuple[str, ...] = ()
    members: list[tuple[str, str]] | None = None
    vocabulary: int = 0


def pieces(stream: IO[bytes], reader: Reader, depth: int = 0) -> Iterator[str]:
    """The text of a file, piece by piece, in every reading that its first bytes suggest.

    Raises UnreadError at what cannot be unpacked; what was read until then has been given.
    """
    reader = reader if reader.left else reader._replace(left=[LARGEST])
    start = stream.read(START)
    stream.seek(0)
    closed = next((kind for magic, kind in CLOSED.items() if start.startswith(magic)), "")
    closed = closed or next((kind for place, magic, kind in CLOSED_AT if start[place:].startswith(magic)), "")
    why = ""
    try:
        yield from unfolded(stream, start, reader, depth)
    except (*ERRORS, UnreadError) as error:
        why = str(error) if isinstance(error, UnreadError) else one_line(error)
    try:
        if closed == "PDF":
            yield from pages(stream)
        if not depth and not start.startswith(b"PK\x03\x04") and zip_at_end(stream):
            yield from zipped(stream, reader, depth)
        if not is_packed(stream, start):
            stream.seek(0)  # an archive as it is, too: its remarks, and what its own list leaves out
            yield from plain(stream, start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), reader)
    except ERRORS as error:
        why = why or one_line(error)
    if why:
        raise UnreadError(why)
    if closed == "PDF" and not missing(".pdf"):
        raise UnreadError("PDF, of which nothing but text of pages that can be read is searched")
    if closed:
        raise UnreadError(f"{closed}, whose text is packed in a way that is not unpacked here")


def one_line(error: Exception) -> str:
    """An error's kind and its first line."""
    name = "zlib" if isinstance(error, zlib.error) else type(error).__name__
    return f"{name}: {(str(error).splitlines() or ['broken'])[0]}"


def is_packed(stream: IO[bytes], start: bytes) -> bool:
    """Whether the whole of it is one stream of packed bytes; the stream is at its start again."""
    return any(map(start.startswith, PACKED)) or deflated(stream, start)


def unfolded(stream: IO[bytes], start: bytes, reader: Reader, depth: int) -> Iterator[str]:
    """The text inside a table, an archive or a packed stream, and behind that; nothing of any other file."""
    if start.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")):
        yield from table(stream, reader)
    elif start.startswith(b"PK\x03\x04"):
        yield from zipped(stream, reader, depth)
    elif is_packed(stream, start):
        kind = next((each for magic, each in PACKED.items() if start.startswith(magic)), zlib.decompressobj)
        yield stream.read(1 << 10)[10:].decode(errors="replace")  # the name that gzip keeps
        unpacker = Inflated(stream, kind, start[:3])
        yield from inside(unpacker, reader, depth)  # type: ignore[arg-type]
        stream.seek(unpacker.end())
        yield from plain(stream, False, reader)
    elif tarred(stream):
        yield from members(stream, reader, depth)


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
            yield (text := decoder.decode(chunk))
            yield from ids_written(text, reader)
        else:
            for place, coding in ((1, "utf-16-le"), (0, "utf-16-be")):  # Latin letters have a zero in one of two bytes
                if marked or (half := both[place::2]).count(0) > 0.5 * len(half):
                    yield both.decode(coding, "replace")
            for place, coding in ((3, "utf-32-le"), (0, "utf-32-be")):
                if (quarter := both[place::4]).count(0) > 0.9 * len(quarter):
                    yield both.decode(coding, "replace")
            found = [text for each in stretch.findall(both) if (text := likely(each))]
            found += [text.decode(coding) for coding, own in WIDE.items() for text in own.findall(both)]
            yield "\n\0\n".join(["", *found])
            yield from listed(both)
            yield from ids_amid(both, reader)
        if reader.codings and (b"\0" in both or not is_utf8(both)):
            yield from legacy(both, reader.codings)
        yield from packed_in(before[-2:] + chunk, begun, reader)
        before = both[-AGAIN:]


def listed(content: bytes) -> Iterator[str]:
    """Words that stand apart from each other amid other data, as in pickles and arrays, where most of it is words."""
    words = (
        LISTED.findall(content) if sum(map(content.count, (b"e", b"a", b"t"))) * 12 > len(content.strip(b"\0")) else []
    )
    filled = len(content) - content.count(0)
    if sum(map(len, words)) > 0.4 * filled:
        yield " " + " ".join(word.decode(errors="replace") for word in words if len(word) > 1 or word in (b"a", b"I"))


def ids_amid(content: bytes, reader: Reader) -> Iterator[str]:
    """Numbers amid other data that are token ids, as text: many in a row that are all in the vocabulary."""
    import numpy as np

    for size in (2, 4, 8) if reader.decode and reader.vocabulary else ():
        if size > 2 or reader.vocabulary < 1 << 15:  # numbers of weights may be any of 65536
            ids = np.frombuffer(content[: len(content) // size * size], f"<u{size}")
            edges = np.flatnonzero(np.diff(np.concatenate(([False], ids < reader.vocabulary, [False])).astype(np.int8)))
            for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                if end - start >= FEWEST and len(set(own := ids[start:end].tolist())) >= GAPS and reader.decode:
                    yield f" {reader.decode(own)}"


def ids_written(text: str, reader: Reader) -> Iterator[str]:
    """Numbers of a text that are token ids, as text."""
    for found in NUMBERS.finditer(text) if reader.decode and reader.vocabulary and has_numbers(text) else ():
        numbers = [int(each) for each in re.findall(r"\d+", found[0])]
        if max(numbers) < reader.vocabulary and reader.decode:
            yield f" {reader.decode(numbers)}"


def has_numbers(text: str) -> bool:
    """Whether sixteen digits stand close to each other."""
    return DENSE.search(text) is not None


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
        kind = next((each for magic, each in PACKED.items() if found[0].startswith(magic)), zlib.decompressobj)
        with suppress(zlib.error):
            sure = len(found[0]) > 3  # a long mark; nothing of a block of bzip2 comes before its end
            if sure or kind().decompress(whole[found.start() : found.start() + TRIED], TRIED):
                unpacker = kind()
                yield from unpacked(unpacker, whole[found.start() :], begun, reader)
                place = len(content) - len(unpacker.unused_data) if unpacker.eof else place


def unpacked(unpacker: Any, content: Any, begun: list[Any], reader: Reader) -> Iterator[str]:
    """The text of one of them, as far as this piece of the file has it; it is noted in begun if it goes on."""
    while not unpacker.eof:
        try:
            held = unpacker.decompress(content, CHUNK)
        except (zlib.error, lzma.LZMAError, OSError, EOFError):
            return
        reader.left[0] -= len(held)
        if reader.left[0] < 0:
            raise ValueError(f"it unpacks to more than {LARGEST >> 30} GiB")
        if spaced(held) or b"\0" in held:
            yield from plain(io.BytesIO(held), False, reader)
        content = getattr(unpacker, "unconsumed_tail", b"")
        if not content and getattr(unpacker, "needs_input", True):
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

    start = stream.read(4)
    stream.seek(0)
    tokens: list[str] = []
    try:
        schema, batches = opened_table(stream, start)
        said = [schema.metadata or {}, *(field.metadata or {} for field in schema)]
        yield "\n".join(
            [*schema.names, *(value.decode(errors="replace") for own in said for value in own.values()), ""]
        )
        texts, tokens = columns(schema)
        for name in texts:
            for batch in batches(name):
                values = [value for value in batch.to_pylist() if value is not None]
                yield " ".join(
                    value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values
                )
                for value in values:
                    yield from pieces(io.BytesIO(value), reader, 1) if isinstance(value, bytes) else ()
        decode = reader.decode
        for name in tokens if decode else ():
            for batch in batches(name):
                yield from (decode(row) for row in batch.to_pylist() if row and decode)
    except (pa.ArrowException, OverflowError, TypeError) as error:
        if start == ENDLESS:  # it may begin like one and be none
            return
        raise UnreadError(f"parquet: {(str(error).splitlines() or ['broken'])[0]}") from None
    if tokens and not reader.decode:
        raise UnreadError(f"token ids in {', '.join(tokens)}: no tokenizer is at hand")


def opened_table(stream: IO[bytes], start: bytes) -> tuple[Any, Callable[[str], Iterator[Any]]]:
    """A table's schema, and a function of a column's name that gives its values batch by batch."""
    import pyarrow.parquet as pq
    from pyarrow import ipc

    if start == b"PAR1":
        file = pq.ParquetFile(stream)
        return file.schema_arrow, lambda name: (each.column(0) for each in file.iter_batches(256, columns=[name]))
    if start == ENDLESS:

        def batches(name: str) -> Iterator[Any]:
            stream.seek(0)
            yield from (batch.column(name) for batch in ipc.open_stream(stream))

        return ipc.open_stream(stream).schema, batches
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
    why: Exception | None = None
    with zipfile.ZipFile(stream) as archive:
        for entry in archive.infolist():
            yield f"\n{entry.filename}\n"
            if not entry.is_dir():
                try:  # one that cannot be read hides none of the others
                    with archive.open(entry) as held:
                        yield from inside(held, reader, depth)
                except (*ERRORS, UnreadError) as error:
                    why = why or error
                    if reader.left[0] < 0:
                        break
    if why:
        raise why


def tarred(stream: IO[bytes]) -> bool:
    """Whether it is a tar archive; the stream is at its start again."""
    stream.seek(257)
    found = stream.read(5) == b"ustar"
    stream.seek(0)
    return found


def members(stream: IO[bytes], reader: Reader, depth: int) -> Iterator[str]:
    """The text of every file in a tar archive."""
    with tarfile.open(fileobj=stream, mode="r:", ignore_zeros=True) as archive:
        for entry in archive:
            yield f"\n{entry.name}\n"
            held = archive.extractfile(entry) if entry.isfile() else None
            if held:
                yield from inside(held, reader, depth)
