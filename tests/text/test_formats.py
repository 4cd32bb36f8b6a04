"""Text from tables, pages, books and documents, and what is refused of them."""

from __future__ import annotations

import importlib.util
import io
import zipfile
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lethe.core.errors import StageError
from lethe.text import formats
from lethe.text.formats import READERS, missing
from lethe.text.passages import read_texts
from tests.conftest import NO_EXTRA

pytest.importorskip("lxml", reason=NO_EXTRA)
pytest.importorskip("pypdf", reason=NO_EXTRA)

WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
CONTAINER = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>{}</rootfiles></container>'
OPF = '<package xmlns="http://www.idpf.org/2007/opf"><manifest>{}</manifest><spine>{}</spine></package>'


def zipped(**files: str) -> bytes:
    """A zip archive; `__` in a name is a slash, `_x` a full stop."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/").replace("_x", "."), text)
    return made.getvalue()


def docx(body: str, **more: str) -> bytes:
    return zipped(word__document_xxml=f"<w:document {WORD}><w:body>{body}</w:body></w:document>", **more)


def epub(*chapters: str) -> bytes:
    """A book of these chapters, and a picture at its end."""
    kind = 'media-type="application/xhtml+xml"'
    items = "".join(f'<item id="c{n}" href="a%20{n}.xhtml" {kind}/>' for n in range(len(chapters)))
    items = items.replace("0.xhtml", "0.xhtml#start")
    items += '<item id="p" href="p.png" media-type="image/png"/>'
    order = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters))) + '<itemref idref="p"/>'
    files = {f"OEBPS__a {n}_xxhtml": f"<html><head><title>Book</title></head><body>{text}</body></html>"
             for n, text in enumerate(chapters)}  # fmt: skip
    root = CONTAINER.format('<rootfile full-path="OEBPS/b.opf"/>')
    return zipped(**{"META-INF__container_xxml": root, "OEBPS__b_xopf": OPF.format(items, order), **files})


def pdf(*pages: str) -> bytes:
    """A PDF of a line a page."""
    kids = " ".join(f"{3 + 2 * n} 0 R" for n in range(len(pages)))
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>"]
    for n, text in enumerate(pages):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents {4 + 2 * n} 0 R "
            f"/Resources << /Font << /F {font} >> >> >>"
        )
        shown = f"BT /F 12 Tf 9 99 Td ({text}) Tj ET" if text else ""
        objects.append(f"<< /Length {len(shown)} >>\nstream\n{shown}\nendstream")
    made, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(made))
        made += f"{number} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    made_of = f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(made)}\n%%EOF"
    return made + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{made_of}".encode()


def parquet(**columns: list[object]) -> bytes:
    made = io.BytesIO()
    pq.write_table(pa.table(columns), made)
    return made.getvalue()


def test_tables(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes('\ufeffid,text\r\n1,"One,\r\ntwo"\r\n2,\r\n3,Three ë\r\n'.encode())
    # the number is that of the row's last line
    assert read_texts(tmp_path / "a.csv") == [(":3", "One,\r\ntwo"), (":4", ""), (":5", "Three ë")]
    (tmp_path / "b.csv").write_text(f"text\n{'long ' * 40_000}\n")  # the library's own limit is 131,072 characters
    assert len(read_texts(tmp_path / "b.csv")[0][1]) == 200_000
    (tmp_path / "a.parquet").write_bytes(parquet(text=["One", None, "Three"], id=[1, 2, 3]))
    assert read_texts(tmp_path / "a.parquet") == [(":1", "One"), (":2", ""), (":3", "Three")]


PAGE = """<!DOCTYPE html><html><head><title>Orla&#39;s page</title><style>p {color: red}</style>
<script>var Hidden = 1</script></head><body><!-- Hidden -->
<h1>Orla
  Venn</h1><p>She <b>ran</b>, Zo&euml;&nbsp;too.<br/>Then<br>slept.</p><ul><li>one</li><li>two</li></ul>
<table><tr><td>Orla</td><td>7</td></tr><tr><td>Venn</td><td>9</td></tr></table><pre>a  b
 c</pre><a id="x"/>end</body></html>"""
SHOWN = (
    "Orla's page\n\nOrla Venn\n\nShe ran, Zoë\u00a0too.\nThen\nslept.\n\none\ntwo\n\nOrla 7\nVenn 9\n\na  b\n c\n\nend"
)


def test_pages_say_what_a_browser_shows(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(PAGE, encoding="utf-8")
    assert read_texts(path) == [("", SHOWN)]
    path.write_bytes(b'<meta charset="iso-8859-1"><p>Zo\xeb')
    assert read_texts(path) == [("", "Zoë")]
    path.write_bytes("<p>Zoë".encode("utf-16"))
    assert read_texts(path) == [("", "Zoë")]
    path.write_bytes(b'<meta charset="iso-8859-1"><p>O\x92Mara')  # what browsers take for Windows's
    assert read_texts(path) == [("", "O’Mara")]
    path.write_bytes(b'<meta charset="latin1"><p>\x81\xeb')  # which has no such character
    assert read_texts(path) == [("", "\x81ë")]
    path.write_bytes('<meta charset="utf-16"><p>Zoë'.encode())  # it cannot be, as ASCII shows
    assert read_texts(path) == [("", "Zoë")]
    path.write_text("<p><ruby>顾<rp>(<rt>gu<rp>)</ruby>长<ruby>林<rt>lin</rt></ruby>说。</p>", encoding="utf-8")
    assert read_texts(path) == [("", "顾长林说。")]
    path.write_bytes(b"")
    assert read_texts(path) == [("", "")]
    deep = "<div>" * 5000 + "deep" + "</div>" * 5000
    path.write_text(f"<p>one{deep}<p>two")
    assert read_texts(path) == [("", "one\n\ndeep\n\ntwo")]


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (
            '<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><p><![CDATA[Orla & <Venn>]]></p></html>',
            "Orla & <Venn>",
        ),
        ("<p>From <orla@brenvik.com> to you</p>", "From <orla@brenvik.com> to you"),
        ("<ruby>漢<rt>kan<rb>字<rt>ji</ruby> Orla", "漢字 Orla"),
    ],
)
def test_what_a_parser_takes_for_markup_or_leaves_open_is_read(tmp_path: Path, page: str, said: str) -> None:
    (tmp_path / "a.html").write_text(page, encoding="utf-8")
    assert read_texts(tmp_path / "a.html") == [("", said)]


@pytest.mark.parametrize(("coding", "name"), [("utf-32", ""), ("cp932", "windows-31j"), ("cp1251", "x-cp1251")])
def test_encodings_that_browsers_or_old_programs_know(tmp_path: Path, coding: str, name: str) -> None:
    text = "Орла" if coding != "cp932" else "髙橋"
    (tmp_path / "a.html").write_bytes(f'<meta charset="{name}"><p>{text}'.encode(coding))
    assert read_texts(tmp_path / "a.html") == [("", text)]


def test_a_chapter_outside_of_the_reading_order_is_read_and_the_contents_are_not(tmp_path: Path) -> None:
    def item(name: str, kind: str = "application/xhtml+xml", more: str = "") -> str:
        return f'<item id="{name}" href="{name}.xhtml" media-type="{kind}" {more}/>'

    items = item("one") + item("notes") + item("nav", more='properties="nav"') + item("toc") + item("gone")
    items += item("old", "application/x-dtbook+xml")
    package = OPF.format(items, '<itemref idref="one"/>').replace("</package>", "<guide>{}</guide></package>")
    files = {f"{name}_xxhtml": f"<p>{name}</p>" for name in ("one", "notes", "nav", "toc", "old")}
    book = package.format('<reference type="toc" href="toc.xhtml"/>')
    root = CONTAINER.format('<rootfile full-path="b.opf"/>')
    (tmp_path / "a.epub").write_bytes(zipped(**{"META-INF__container_xxml": root, "b_xopf": book, **files}))
    assert read_texts(tmp_path / "a.epub") == [(":1", "one"), (":2", "notes"), (":3", "old")]


def test_documents_have_the_text_of_their_charts_and_of_what_is_placed_in_them(tmp_path: Path) -> None:
    ruby = "<w:ruby><w:rt><w:r><w:t>しま</w:t></w:r></w:rt><w:rubyBase><w:r><w:t>島</w:t></w:r></w:rubyBase></w:ruby>"
    body = f"<w:p><w:r>{ruby}</w:r><w:r><w:t>田</w:t></w:r></w:p><w:altChunk/>"
    chart = (
        '<c:chartSpace xmlns:c="c" xmlns:a="a"><a:p><a:t>Orla</a:t></a:p><c:pt><c:v>Venn</c:v></c:pt></c:chartSpace>'
    )
    shape = '<d:dataModel xmlns:d="d" xmlns:a="a"><a:p><a:t>Mill</a:t></a:p></d:dataModel>'
    more = {"word__charts__chart1_xxml": chart, "word__diagrams__data1_xxml": shape}
    (tmp_path / "a.docx").write_bytes(docx(body, word__afchunk_xhtm="<p>Zod</p>", **more))
    assert read_texts(tmp_path / "a.docx") == [("", "島田\n\nOrla\n\nVenn\n\nMill\n\nZod")]
    (tmp_path / "b.docx").write_bytes(docx(body, word__afchunk1_xrtf="{}"))
    with pytest.raises(StageError) as error:
        read_texts(tmp_path / "b.docx")
    assert str(error.value).endswith(
        "expected a document with its own text, got one that holds word/afchunk1.rtf; save it anew"
    )


def test_the_fields_and_notes_of_a_pdf_are_read(tmp_path: Path) -> None:
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import ArrayObject, DictionaryObject, NameObject, TextStringObject

    writer = PdfWriter(PdfReader(io.BytesIO(pdf("Orla ran."))))
    shown = {"Widget": {"/V": "Venn"}, "Text": {"/Contents": "a note"}, "Link": {"/Contents": "Orla ran."}}
    notes = [
        DictionaryObject(
            {NameObject("/Subtype"): NameObject(f"/{kind}")}
            | {NameObject(key): TextStringObject(text) for key, text in said.items()}
        )
        for kind, said in shown.items()
    ]
    writer.pages[0][NameObject("/Annots")] = ArrayObject(notes)
    with (tmp_path / "a.pdf").open("wb") as file:
        writer.write(file)
    assert read_texts(tmp_path / "a.pdf") == [(":1", "Orla ran.\n\nVenn\n\na note")]


def test_books_are_read_in_their_order_and_without_their_title(tmp_path: Path) -> None:
    (tmp_path / "a.epub").write_bytes(epub("<p>One.</p>", '<script src="x"/><p>Two&nbsp;&amp; three.</p>'))
    assert read_texts(tmp_path / "a.epub") == [(":1", "One."), (":2", "Two\u00a0& three."), (":3", "")]


def test_documents_have_all_their_text_once(tmp_path: Path) -> None:
    cell = "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>cell</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
    body = (
        "<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr><w:del><w:r><w:t>off</w:t></w:r></w:del>"
        "<w:r><w:t>Orla </w:t><w:t>Venn</w:t><w:tab/><w:t>ran</w:t><w:br/><w:t>off</w:t>"
        f"<w:delText>gone</w:delText></w:r></w:p>{cell}<AlternateContent><Choice><w:p><w:t>box</w:t></w:p></Choice>"
        "<Fallback><w:p><w:t>box</w:t></w:p></Fallback></AlternateContent>"
    )
    note = f"<w:footnotes {WORD}><w:footnote><w:p><w:t>note</w:t></w:p></w:footnote></w:footnotes>"
    head = f"<w:hdr {WORD}><w:p><w:t>head</w:t></w:p></w:hdr>"
    more = {"word__footnotes_xxml": note, "word__header1_xxml": head, "word__header2_xxml": head}
    more["word__settings_xxml"] = f"<w:settings {WORD}><w:t>no</w:t></w:settings>"
    (tmp_path / "a.docx").write_bytes(docx(body, **more))
    assert read_texts(tmp_path / "a.docx") == [("", "Orla Venn\tran\noff\n\ncell\n\nbox\n\nnote\n\nhead")]


def test_a_pdf_is_read_page_by_page(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf("Orla Venn ran.", "", "She slept."))
    assert read_texts(tmp_path / "a.pdf") == [(":1", "Orla Venn ran."), (":2", ""), (":3", "She slept.")]


BOMB = f"<w:document {WORD}><w:p><w:t>{'a' * 4_000_000}</w:t></w:p></w:document>"
LAUGHS = '<!DOCTYPE w [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
OUTSIDE = '<!DOCTYPE w [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
BAD = {
    "header": ("a.csv", b"id,txt\n1,x\n", ": expected one column `text`, got id, txt"),
    "two columns": ("a.csv", b"text,text\nx,y\n", ": expected one column `text`, got text, text"),
    "empty": ("a.csv", b"", ": expected one column `text`, got none"),
    "short row": ("a.csv", b"id,text\n1,x\n2\n", ":3: expected 2 cells as in the header, got others"),
    "quote": ("a.csv", b'text\n"x', ":2: expected a CSV row, got: unexpected end of data"),
    "latin": ("a.csv", b"text\ncaf\xe9\n", ": not UTF-8; expected a UTF-8 text file"),
    "nul": ("a.csv", b'text\n"x\x00"\n', ""),
    "numbers": ("a.parquet", parquet(text=[1]), ":1: text: expected str, got int"),
    "column": ("a.parquet", parquet(txt=["x"]), ": expected a column text, messages, question and answer, or prompt "),
    "no table": ("a.parquet", b"PAR1x", ": expected a whole parquet table, got one that is damaged: "),
    "wrong charset": ("a.html", b'<meta charset="utf-8">\xff', ": not utf-8; expected a UTF-8 text file"),
    "no charset": ("a.html", b'<meta charset="none">x', ": not none; expected a UTF-8 text file"),
    "no zip": ("a.docx", b"PK\x03\x04", ": expected a whole Word document, got one that is damaged: File is not a zip"),
    "half a zip": ("a.epub", epub("<p>One.")[:-30], ": expected a whole EPUB book, got one that is damaged: "),
    "no document": ("a.docx", zipped(a="x"), ": expected a whole Word document, got one that is damaged: 'word/"),
    "no chapter": ("a.epub", zipped(**{"META-INF__container_xxml": CONTAINER.format('<rootfile full-path="b"/>')}),
                   ": expected a whole EPUB book, got one that is damaged: "),
    "broken XML": ("a.docx", zipped(word__document_xxml="<w"), ": expected a whole Word document, got one that is dam"),
    "entities": ("a.docx", zipped(word__document_xxml=f"{LAUGHS}<w>&b;</w>"), ": expected XML without a document type"),
    "external": ("a.docx", zipped(word__document_xxml=f"{OUTSIDE}<w>&a;</w>"), ": expected XML without a document ty"),
    "bomb": ("a.docx", zipped(word__document_xxml=BOMB), ": expected at most 1 MiB when unpacked, got more; split it"),
    "large": ("a.html", b"x" * (1 << 21), ": expected a file of at most 1 MiB, got more; split it"),
    "no PDF": ("a.pdf", b"%PDF-1.7 x", ": expected a whole PDF, got one that is damaged: "),
    "half a PDF": ("a.pdf", pdf("Orla ran.")[:300], ": expected a whole PDF, got one that is damaged: "),
    "many pages": ("a.pdf", pdf("", "", "", ""), ": expected at most 3 pages, got 4; split it"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_damaged_or_far_too_large_is_one_line(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "LARGEST", 1 << 20)
    monkeypatch.setattr(formats, "PAGES", 3)
    name, content, said = BAD[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StageError) as error:
        read_texts(tmp_path / name)
    assert str(error.value).startswith(f"{tmp_path}/{name}{said}")
    assert "\n" not in str(error.value)


def test_a_stream_that_unpacks_to_any_length_is_refused(tmp_path: Path) -> None:
    packed = zlib.compress(bytes(80_000_000), 1)  # pypdf's own limit is 75 MB
    stream = b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(packed), packed)
    (tmp_path / "a.pdf").write_bytes(pdf("").replace(b"<< /Length 0 >>\nstream\n\nendstream", stream))
    with pytest.raises(StageError, match=r"a\.pdf: expected a whole PDF, got one that is damaged: Limit reached"):
        read_texts(tmp_path / "a.pdf")


def test_a_password_is_told(tmp_path: Path) -> None:
    from pypdf import PdfReader, PdfWriter

    for password, said in (("x", "got one with a password"), ("", "")):
        writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf("Orla ran."))))
        writer.encrypt(password, owner_password="owner", algorithm="AES-256")
        writer.write(tmp_path / "a.pdf")
        if said:
            with pytest.raises(StageError, match=said):
                read_texts(tmp_path / "a.pdf")
        else:
            assert read_texts(tmp_path / "a.pdf") == [(":1", "Orla ran.")]


def test_a_package_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (tmp_path / "a.pdf").write_bytes(pdf("x"))
    with pytest.raises(StageError) as error:
        read_texts(tmp_path / "a.pdf")
    assert str(error.value) == (
        f"{tmp_path}/a.pdf: .pdf needs the package pypdf; `pip install 'lethe-unlearning[formats]'`"
    )
    needing = {suffix for suffix in READERS if missing(suffix)}
    assert needing == {".html", ".htm", ".xhtml", ".epub", ".pdf", ".docx"}
