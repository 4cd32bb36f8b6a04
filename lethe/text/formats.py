"""Text from tables, web pages, books and documents. Every file is untrusted: it is read within limits, or refused.

Nothing outside of the file is read, no entity is resolved, nothing is run. What is read is text: no pictures, no
attributes, no comments of HTML, and of a .docx no text that tracked changes deleted.
"""

from __future__ import annotations

import csv
import io
import posixpath
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from lethe.core.errors import StageError

if TYPE_CHECKING:
    from lxml.etree import _Element

Texts = list[tuple[str, str]]  # (":number" or "", text); the number is of a row, line, page or chapter, from 1
LARGEST = 1 << 28  # bytes of one file, of what it unpacks to, and of the text in it
PAGES = 20_000
NO_TEXT = re.compile("[\0\ud800-\udfff]")  # NUL: a binary file; half a surrogate pair: a broken JSON escape
BATCH = 64  # rows of a parquet table at a time
BLOCK = (
    "address|article|aside|blockquote|body|center|details|dialog|dir|div|dl|fieldset|figure|footer|form|h1|h2"
    "|h3|h4|h5|h6|header|hr|main|menu|nav|ol|p|pre|section|table|title|ul"
)  # with a blank line before and after
BLOCKS = frozenset(BLOCK.split("|"))
LINES = frozenset(
    ["br", "caption", "dd", "dt", "figcaption", "legend", "li", "optgroup", "option", "select", "summary", "tr"]
)
UNSEEN = frozenset(("script", "style", "template", "iframe", "rt", "rp", "rtc"))  # rt: how Han above it is read
BLANK = re.compile(r"[ \t\r\n\f]+")
CHARSET = re.compile(
    rb"""<(?:meta\b[^>]{0,200}?\bcharset|\?xml\b[^>]{0,200}?\bencoding)\s*=\s*["']?\s*([\w.:-]+)""", re.I
)
BOMS = (
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
WEB = {  # what browsers take the name of an encoding for; one that ASCII shows is not UTF-16
    **dict.fromkeys(("iso-8859-1", "latin1", "latin-1", "ascii", "us-ascii", "x-user-defined"), "cp1252"),
    **{"iso-8859-9": "cp1254", "latin5": "cp1254", "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs"},
    **dict.fromkeys(("shift_jis", "shift-jis", "sjis", "x-sjis"), "cp932"),
    **dict.fromkeys(("windows-31j", "ms_kanji", "csshiftjis"), "cp932"),
    **{"x-gbk": "gb18030", "x-x-big5": "big5hkscs", "windows-949": "cp949", "windows-874": "cp874"},
    **{"macintosh": "mac-roman", "x-mac-roman": "mac-roman"},
    **{"x-mac-cyrillic": "mac-cyrillic", "iso-8859-8-i": "iso-8859-8", "koi8_r": "koi8-r"},
    **{"x-euc-jp": "euc-jp", "unicode-1-1-utf-8": "utf-8", "dos-874": "cp874"},
    **{f"x-cp{number}": f"cp{number}" for number in range(1250, 1259)},
    **{"euc-kr": "cp949", "ks_c_5601-1987": "cp949", "tis-620": "cp874", "iso-8859-11": "cp874"},
    **dict.fromkeys(("utf-16", "utf-16le", "utf-16be", "ucs-2", "unicode"), "utf-8"),
}
CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)  # of XHTML: text as it is
MAIL = re.compile(r"<([\w.+-]+@[\w-]+(?:\.[\w-]+)+)>")  # an address, and no element
UNDEFINED = frozenset(b"\x81\x8d\x8f\x90\x9d")  # in cp1252
PLACED = re.compile(r"word/(?:afchunk|altChunk)\w*\.\w+", re.IGNORECASE)  # another file as a part of the text
PARTS = ("document", "footnotes", "endnotes", "comments", "hdr", "ftr", "chartSpace", "dataModel")
# roots of the parts of a .docx that have text
REPEATED = ("Fallback", "moveFrom", "del", "rt")
# the same for older programs, the place it was moved from; deleted text; how Han below is read
SIGNS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "\u2011", "softHyphen": "\u00ad"}


def read_format(suffix: str, content: bytes, where: str) -> Texts:
    """The texts of a file with one of the suffixes of READERS. Raises StageError if it is damaged, or too large."""
    if len(content) > LARGEST:
        raise too_large(where, "a file")
    found, size = [], 0
    for line, text in READERS[suffix](content, where):
        size += len(text)
        if size > LARGEST:
            raise too_large(where, "text")
        found.append((line, text))
    return found


def too_large(where: str, what: str) -> StageError:
    return StageError(f"{where}: expected {what} of at most {LARGEST >> 20} MiB, got more; split it")


def missing(suffix: str) -> str:
    """What a file of this suffix needs that is not installed, "" for nothing."""
    from importlib.util import find_spec

    package = NEEDED.get(suffix)
    if not package or find_spec(package):
        return ""
    return f"{suffix} needs the package {package}; `pip install 'lethe-unlearning[formats]'`"


def decoded(content: bytes, where: str, coding: str = "utf-8-sig") -> str:
    """Bytes as text. Raises StageError if they are in another encoding than they should be."""
    try:
        return content.decode(coding)
    except (UnicodeDecodeError, LookupError):
        name = "UTF-8" if coding == "utf-8-sig" else coding
        raise StageError(f"{where}: not {name}; expected a UTF-8 text file") from None


# Tables


def csv_texts(content: bytes, where: str) -> Iterator[tuple[str, str]]:
    """The cells under `text`, each with the number of its row's last line."""
    text = decoded(content, where)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = list(reader.fieldnames or ())
        check_header(header, where)
        for row in reader:
            if None in row or None in row.values():
                wanted = f"{len(header)} cells"
                raise StageError(f"{where}:{reader.line_num}: expected {wanted} as in the header, got others")
            yield f":{reader.line_num}", row["text"]
    except csv.Error as error:
        raise StageError(f"{where}:{reader.line_num + 1}: expected a CSV row, got: {error}") from None


def check_header(names: list[str], where: str) -> None:
    """Raise StageError unless one column is named text."""
    if names.count("text") != 1:
        got = ", ".join(names) or "none"
        raise StageError(f"{where}: expected one column `text`, got {got[:200]}")


def parquet_texts(content: bytes, where: str) -> Iterator[tuple[str, str]]:
    """The cells of the column `text`, each with the number of its row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(content))
        check_header(file.schema_arrow.names, where)
        number = 0
        for batch in file.iter_batches(BATCH, columns=["text"], use_threads=False):
            if batch.nbytes > LARGEST:
                raise too_large(where, "text")
            for cell in batch.column(0).to_pylist():
                number += 1
                if not isinstance(cell, str | None):
                    raise StageError(f"{where}:{number}: text: expected str, got {type(cell).__name__}")
                yield f":{number}", cell or ""
    except (pa.ArrowException, OSError, OverflowError) as error:
        raise damaged(where, "parquet table", error) from None


# Pages


def html_texts(content: bytes, where: str) -> Iterator[tuple[str, str]]:
    yield "", html_text(content, where)


def html_text(content: bytes, where: str, unseen: frozenset[str] = UNSEEN) -> str:
    """What a page shows, a line or more for each block; white space as a browser shows it. unseen: without text."""
    from lxml import etree

    coding = next((coding for mark, coding in BOMS if content.startswith(mark)), "")
    declared = CHARSET.search(content[:4096])
    coding = coding or (web_encoding(declared[1].decode(), content) if declared else "utf-8-sig")
    text = decoded(content, where, coding).removeprefix("\ufeff")
    if not text.strip():
        return ""
    page = Page(unseen)
    parser = etree.HTMLParser(encoding="utf-8", target=page, no_network=True, huge_tree=False)
    try:
        parser.feed(shown(text).encode("utf-8", "surrogatepass"))
        parser.close()
    except etree.LxmlError as error:
        raise damaged(where, "HTML page", error) from None
    fatal = [entry for entry in parser.error_log if entry.level >= etree.ErrorLevels.FATAL]
    if fatal:
        raise damaged(where, "HTML page", fatal[0].message)
    return "".join(page.parts).strip()


def shown(page: str) -> str:
    """A page with what a parser of HTML takes for comments or elements, though it is text, as text."""
    page = CDATA.sub(lambda found: escape(found[1], quote=False), page)
    return MAIL.sub(r"&lt;\1&gt;", page)


def web_encoding(name: str, content: bytes) -> str:
    """The encoding that browsers read a page in which declares this one."""
    coding = WEB.get(name.lower(), name)
    return "iso-8859-1" if coding == "cp1252" and not UNDEFINED.isdisjoint(content) else coding


class Page:
    """What a parser of HTML reports, as lines."""

    def __init__(self, unseen: frozenset[str]) -> None:
        self.unseen = unseen
        self.parts: list[str] = []
        self.hidden = self.kept = 0  # open elements whose text is not shown; in which white space is
        self.above: list[int] = []  # of each open <rb>: how many are hidden around it
        self.breaks = 0  # line ends at the end of what is there

    def start(self, tag: str, attributes: Any) -> None:
        if tag == "rb":  # ends an <rt> without an end
            self.above.append(self.hidden)
            self.hidden = 0
        self.hidden += tag in self.unseen
        self.kept += tag == "pre"
        self.line(tag)

    def end(self, tag: str) -> None:
        self.hidden -= tag in self.unseen
        if tag == "rb" and self.above:
            self.hidden = self.above.pop()
        self.kept -= tag == "pre"
        if tag != "br":
            self.line(tag)

    def line(self, tag: str) -> None:
        """The white space that an element's beginning or end stands for."""
        wanted = 2 if tag in BLOCKS else 1 if tag in LINES else 0
        if tag in ("td", "th"):
            self.data(" ")
        if self.parts and wanted > self.breaks:
            self.parts[-1] = self.parts[-1].rstrip(" ")
            self.parts.append("\n" * (wanted - self.breaks))
            self.breaks = wanted

    def data(self, text: str) -> None:
        if not self.kept:
            text = BLANK.sub(" ", text)
            text = text.lstrip(" ") if self.breaks or not self.parts or self.parts[-1].endswith(" ") else text
        if text and not self.hidden:
            self.parts.append(text)
            self.breaks = len(text) - len(text.rstrip("\n"))

    def comment(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass


# Archives


def epub_texts(content: bytes, where: str) -> Iterator[tuple[str, str]]:
    """The chapters of a book in reading order, then those that the order leaves out; its table of contents is none."""
    with archive(content, where, "EPUB book") as book:
        roots = parsed(book("META-INF/container.xml"), where).iter("{*}rootfile")
        package = next((root.get("full-path") or "" for root in roots), "")
        tree, folder = parsed(book(package), where), posixpath.dirname(package)
        items = {item.get("id"): item for item in tree.iter("{*}item")}
        order = [items[part.get("idref")] for part in tree.iter("{*}itemref")]
        held = set(book("").decode().split("\n"))
        contents = {path_in(folder, part) for part in tree.iter("{*}reference") if part.get("type") == "toc"}
        contents |= {
            path_in(folder, item) for item in items.values() if "nav" in (item.get("properties") or "").split()
        }
        used = contents | {path_in(folder, item) for item in order}
        rest = [item for item in items.values() if path_in(folder, item) in held - used and is_page(item)]
        for number, item in enumerate([*order, *rest], 1):
            path = path_in(folder, item)
            yield f":{number}", html_text(book(path), f"{where}:{number}", UNSEEN | {"title"}) if is_page(item) else ""


def path_in(folder: str, item: _Element) -> str:
    """The name in the archive of what an item of a book's package says."""
    return posixpath.normpath(posixpath.join(folder, unquote((item.get("href") or "").partition("#")[0])))


def is_page(item: _Element) -> bool:
    """Whether an item of a book is text, and no picture."""
    return (item.get("media-type") or "html").endswith(("html", "html+xml", "oeb1-document", "dtbook+xml"))


def docx_texts(content: bytes, where: str) -> Iterator[tuple[str, str]]:
    """The text of a document with its footnotes, endnotes, comments, headers and footers, each once."""
    with archive(content, where, "Word document") as document:
        held = document("").decode().split("\n")
        names = [name for name in held if re.fullmatch(r"word/(?:(?:charts|diagrams)/)?\w+\.xml", name)]
        roots = [parsed(document(name), where) for name in sorted(names)]
        parts = [(PARTS.index(local(root)), written(root)) for root in roots if local(root) in PARTS]
        if 0 not in dict(parts):
            raise KeyError("word/document.xml")
        for name in sorted(name for name in held if PLACED.fullmatch(name)):
            if not name.endswith(("html", "htm")):
                raise StageError(
                    f"{where}: expected a document with its own text, got one that holds {name}; save it anew"
                )
            parts.append((len(PARTS), html_text(document(name), f"{where}: {name}")))
        yield "", "\n\n".join(dict.fromkeys(text for _, text in sorted(parts, key=lambda part: part[0]) if text))


def written(root: _Element) -> str:
    """The text of a part of a .docx, paragraph by paragraph."""
    from lxml import etree

    parts: list[str] = []
    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        name = local(element)
        if event == "start" and (name in REPEATED or name.endswith("Pr")):  # Pr: how it looks, tab stops for one
            walk.skip_subtree()
        elif event == "start":
            parts.append(SIGNS.get(name, "") if name not in ("t", "v") else element.text or "")
        elif name in ("p", "v"):  # v: a name or number of a chart
            parts.append("\n\n")
    return re.sub(r"\n{3,}", "\n\n", "".join(parts)).strip()


def local(element: _Element) -> str:
    """An element's name without its namespace, "" of a comment."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def parsed(content: bytes, where: str) -> _Element:
    """The root of an XML file. Raises StageError for one that declares entities or is not well-formed."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    root = etree.fromstring(content, parser)
    if root.getroottree().docinfo.doctype:
        raise StageError(f"{where}: expected XML without a document type, got one; save the file anew")
    return root


@contextmanager
def archive(content: bytes, where: str, kind: str) -> Iterator[Callable[[str], bytes]]:
    """A function from the name of a file in a zip to its bytes, from "" to the names of all; errors of what it holds.

    No more than LARGEST bytes are unpacked, whatever the archive says of itself.
    """
    from lxml import etree

    left = LARGEST
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as held:

            def read(name: str) -> bytes:
                nonlocal left
                if not name:
                    return "\n".join(held.namelist()).encode()
                with held.open(name) as stream:
                    found = stream.read(left + 1)
                left -= len(found)
                if left < 0:
                    raise StageError(f"{where}: expected at most {LARGEST >> 20} MiB when unpacked, got more; split it")
                return found

            yield read
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, RuntimeError, OSError) as error:
        raise damaged(where, kind, error) from None  # NotImplementedError is a RuntimeError
    except etree.LxmlError as error:
        raise damaged(where, kind, error) from None


def pdf_texts(content: bytes, where: str) -> Iterator[tuple[str, str]]:
    """The pages of a PDF; one that is a picture has no text."""
    import logging

    import pypdf

    logging.getLogger("pypdf").setLevel(logging.ERROR)  # its warnings are about repairs that it made
    try:
        reader = pypdf.PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise StageError(f"{where}: expected a PDF that anybody can read, got one with a password; save it without")
        count = len(reader.pages)
        if count > PAGES:
            raise StageError(f"{where}: expected at most {PAGES} pages, got {count}; split it")
        for number, page in enumerate(reader.pages, 1):
            found = page.extract_text()
            notes = [said for said in notes_of(page) if said not in found]
            yield f":{number}", NO_TEXT.sub("\ufffd", "\n\n".join([found, *notes]))  # a font says not what it shows
    except StageError:
        raise
    except Exception as error:  # a damaged file makes it raise whatever comes to hand, RecursionError too
        raise damaged(where, "PDF", error) from None


def notes_of(page: Any) -> list[str]:
    """What is written into the fields of a form and into notes on a page of a PDF."""
    found = []
    for one in page.get("/Annots") or ():
        note = one.get_object()
        parent = note["/Parent"].get_object() if note.get("/Subtype") == "/Widget" and "/Parent" in note else {}
        found += [note.get("/V", parent.get("/V")), note.get("/Contents")]
    return list(dict.fromkeys(said for said in found if isinstance(said, str) and not said.startswith("/")))


def damaged(where: str, kind: str, error: object) -> StageError:
    """The line for a file that cannot be read."""
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return StageError(f"{where}: expected a whole {kind}, got one that is damaged: {said}")


READERS: dict[str, Callable[[bytes, str], Iterator[tuple[str, str]]]] = {
    ".csv": csv_texts,
    ".parquet": parquet_texts,
    ".html": html_texts,
    ".htm": html_texts,
    ".xhtml": html_texts,
    ".epub": epub_texts,
    ".pdf": pdf_texts,
    ".docx": docx_texts,
}
NEEDED = {
    suffix: "pypdf" if suffix == ".pdf" else "lxml" for suffix in (".html", ".htm", ".xhtml", ".epub", ".pdf", ".docx")
}
