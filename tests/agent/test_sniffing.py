"""What a text file is, guessed from its first bytes."""

from __future__ import annotations

import csv
import io
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agent.visidata.hosted import legacy, sniffing


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        (b"", "utf-8"),
        (b"plain", "utf-8"),
        ("Köln".encode(), "utf-8"),
        ("Köln".encode("utf-8-sig"), "utf-8-sig"),
        ("Köln".encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + "Köln".encode("utf-16-be"), "utf-16"),
        ("Köln, Bonn".encode("utf-16-le"), "utf-16-le"),
        ("Köln, Bonn".encode("utf-16-be"), "utf-16-be"),
        ("Köln".encode("utf-32"), "utf-32"),
        ("Köln “1” €".encode("cp1252"), "cp1252"),
        (b"only one \xf6 here", "cp1252"),
        ("Köln, Łódź, São Paulo, Zürich".encode() + b"\xff", "utf-8"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?><a>K\xf6ln</a>', "cp1252"),
        (b'<?xml version="1.0" encoding="windows-1251"?><a>\xcc\xee</a>', "cp1251"),
        (b'<html><meta charset="shift_jis"><p>\x93\xfa', "shift_jis"),
        (b"<?xml version='1.0' encoding='windows-1251'?><a>ascii so far", "cp1251"),
        ('<meta charset="iso-8859-1">Köln'.encode(), "utf-8"),  # Valid UTF-8 wins over a wrong declaration.
        (b'<?xml version="1.0" encoding="UTF-16"?><a>K\xf6ln</a>', "cp1252"),  # It is not.
        (b'<?xml version="1.0" encoding="no-such"?><a>K\xf6ln</a>', "cp1252"),
        (b'<?xml version="1.0" encoding="base64"?><a>K\xf6ln</a>', "cp1252"),
    ],
)
def test_the_encoding(head: bytes, encoding: str) -> None:
    assert sniffing.sniff_encoding(head, whole=True).encoding == encoding


TEXTS = {
    "Город,Население\nМосква,13010112\nСанкт-Петербург,5601911\nНовосибирск,1633595\n": ["cp1251", "koi8_r", "cp866"],
    "都市,人口\n東京,13960000\nおおさか,2750000\nナゴヤ,2320000\nさっぽろ\n": ["cp932", "euc_jp"],
    "도시,인구\n서울,9411000\n부산,3349000\n인천,2936000\n": ["cp949"],
    "城市,人口\n北京,21893095\n上海,24870895\n广州,18676605\n深圳,17494398\n": ["gb18030"],
    "Straße,Größe\nÄpfel,Öl\nÜbergröße,Füße\nKöln,“1” €\n": ["cp1252"],
    "prénom,été\nRené,élève\nÀ côté,où\nForêt,garçon\n": ["cp1252"],
    "ÄÖÜ,äöü\nßß,ÆØÅ\n": ["cp1252"],
    "Ärzte,Äpfel\nÄnderung,Ärger\n": ["cp1252"],
}


@pytest.mark.parametrize(
    ("text", "encoding"), [(text, each) for text, encodings in TEXTS.items() for each in encodings]
)
def test_old_encodings_are_guessed_by_their_script(text: str, encoding: str) -> None:
    head = text.encode(encoding)
    assert legacy.guess(head) == encoding
    assert legacy.guess(head * 20) == encoding
    assert sniffing.sniff_encoding(head, whole=True) == sniffing.Reading(encoding, guessed=True)


@given(st.binary(max_size=200))
def test_any_bytes_have_a_guess_that_reads_them(head: bytes) -> None:
    head.decode(legacy.guess(head), "replace")


@given(st.text(st.characters(exclude_characters="\x00\ufeff", codec="utf-8")), st.integers(0, 3))
def test_utf_8_stays_utf_8_wherever_its_beginning_ends(text: str, cut: int) -> None:
    head = text.encode()
    found = sniffing.sniff_encoding(head, whole=True)
    assert found.encoding == "utf-8" or text.lstrip().startswith("<")
    assert sniffing.decode_head(head, "utf-8") == text
    if cut and len(head) > cut:
        assert sniffing.sniff_encoding(head[:-cut], whole=False).encoding == found.encoding


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_some_text_of_some_shape(head: bytes, whole: bool) -> None:
    text = sniffing.decode_head(head, sniffing.sniff_encoding(head, whole).encoding)
    sniffing.sniff_csv(text, whole)
    sniffing.sniff_tsv(text, whole)


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("", ","),
        ("name\nAda\nBob\n", ","),
        ("a,b\n1,2\n", ","),
        ("a;b\n1;2\n", ";"),
        ("a\tb\n1\t2\n", "\t"),
        ("a|b\n1|2\n", "|"),
        ("Name;Betrag\nAda;7,00\n", ";"),
        ("Name;Preis, netto\nAda;7,00\nBob;8,50\n", ";"),
        ("Name;Betrag\nAda;7,00\nBob;1.234,56\nCyd;0,5\n", ";"),
        ("name,note\nAda,a; b\nBob,c; d\n", ","),
        ("name,note\nAda,a|b\nBob,c|d\n", ","),
        ('name,note\nAda,"one;\ntwo;three"\nBob,none\n', ","),
        ("note\nhello; world\nyes; no\n", ","),
        ("a,b\n1,2,3\n4,5\n6,7\n", ","),
        ("x,y;z\n1,2;3\n4,5;6\n", ";"),
    ],
)
def test_the_delimiter(text: str, delimiter: str) -> None:
    assert sniffing.sniff_csv(text, whole=True).delimiter == delimiter


def test_excels_first_line_names_the_delimiter() -> None:
    assert sniffing.sniff_csv("sep=|\na;b|c\n", whole=True) == sniffing.CsvShape("|", sep_line=True)
    assert sniffing.sniff_csv("sep;a\n1;2\n", whole=True) == sniffing.CsvShape(";", sep_line=False)
    for no_delimiter in ('"', "\r", "\0"):
        assert not sniffing.sniff_csv(f"sep={no_delimiter}\r\na;b\n1;2\n", whole=True).sep_line


def test_decimal_commas_are_noticed_where_no_comma_separates() -> None:
    def columns(text: str) -> set[int]:
        return set(sniffing.sniff_csv(text, whole=True).comma_columns)

    assert columns("a;b\nx;1.234,56\n") == {1}
    assert columns("a;b\nx;-7,5\ny;1.234\n") == {1}
    assert columns("a;b;c\n1,5;1.5;1,2,3\n") == {0}
    assert columns("a;b\nx;1,5\ny;1.25\n") == set()  # It has decimal points too.
    assert columns("a,b\n1,5\n") == set()


@pytest.mark.parametrize(
    ("text", "number"),
    [("7,00", "7.00"), (" -1.234,5", "-1234.5"), ("1.234", "1234"), ("12", "12"), ("1.5", "1.5"), ("n/a", "n/a")],
)
def test_numbers_with_decimal_commas_are_numbers(text: str, number: str) -> None:
    assert sniffing.with_decimal_point(text) == number


words = st.text(string.ascii_letters + " ", min_size=1, max_size=8)


@given(st.sampled_from(",;\t|"), st.integers(2, 5), st.data())
def test_a_table_of_words_is_split_as_it_was_written(delimiter: str, columns: int, data: st.DataObject) -> None:
    row = st.lists(words, min_size=columns, max_size=columns)
    rows = data.draw(st.lists(row, min_size=2, max_size=8))
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows(rows)
    assert sniffing.sniff_csv(file.getvalue(), whole=True).delimiter == delimiter


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("id\tnote\n1\tplain\n", False),
        ('id\tnote\n1\tsay "hi"\n', False),
        ('id\tnote\n1\t"hi"\n2\tno\n', False),  # It may be meant as it is.
        ('id\tnote\n1\t"hi" he said\n2\t"a\tb"\n', False),
        ('id\tsize\n1\t5" disk\n2\t3" disk\n', False),
        ('id\tnote\n1\t"never closed\n2\tb\n', False),
        ('id\tnote\n1\t""\n2\tb\n', False),
        ('id\tnote\n1\t"two\nlines"\n', True),
        ('id\tnote\n1\t"a\ttab"\n', True),
        ('id\tnote\n1\t"say ""hi"""\n', True),
        ('"id"\t"note"\n"1"\t"hi"\n', True),
        ('id\t"note"\r\n1\t"hi"\r\n', True),
    ],
)
def test_quotes_of_a_tsv_are_text_unless_they_must_be_more(text: str, quoted: bool) -> None:
    assert sniffing.sniff_tsv(text, whole=True).quoted is quoted


def test_the_ends_of_a_tsvs_lines() -> None:
    assert sniffing.sniff_tsv("a\tb\n1\tx\ry\n", whole=True).row_end == "\n"
    assert sniffing.sniff_tsv("a\tb\r1\tx\r", whole=True).row_end == "\r"
    assert sniffing.sniff_tsv("a\tb\r\n1\tx\r\n", whole=True).row_end == "\n"


cells = st.text(st.sampled_from('ab "\t\n'), max_size=6)


@given(st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=8), st.sampled_from(["\n", "\r\n"]))
def test_a_quoted_tsv_gives_back_the_cells_that_were_written(rows: list[list[str]], end: str) -> None:
    file = io.StringIO()
    csv.writer(file, delimiter="\t", lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    assert list(sniffing.split_quoted(file.getvalue().split("\n"), "\n")) == rows


@given(st.text(st.sampled_from('ab"\t\n\r')))
def test_no_text_of_a_tsv_is_lost(text: str) -> None:
    """Whatever the quotes mean, all letters come out, in their order."""
    rows = sniffing.split_quoted(text.split("\n"), "\n")
    assert "".join(c for row in rows for cell in row for c in cell if c in "ab") == "".join(
        c for c in text if c in "ab"
    )


def test_a_quote_that_never_closes_costs_no_more_than_its_bound() -> None:
    lines = ['x\t"open'] + ["y\tz"] * 5000
    rows = list(sniffing.split_quoted(lines * 3, "\n"))
    assert rows == [["x", '"open'], *[["y", "z"]] * 5000] * 3


@pytest.mark.parametrize(
    ("reading", "shape", "replaced", "line"),
    [
        (sniffing.Reading("utf-8"), None, 0, ""),
        (sniffing.Reading("utf-8-sig"), sniffing.CsvShape(), 0, ""),
        (sniffing.Reading("utf-8"), None, 1, "1 byte is not UTF-8, read as Windows-1252"),
        (
            sniffing.Reading("cp1252", guessed=True),
            None,
            0,
            "read as Windows-1252 (a guess; zO encoding changes it); saves as UTF-8",
        ),
        (None, sniffing.CsvShape("\t"), 0, "tab-separated"),
        (
            sniffing.Reading("utf-16"),
            sniffing.CsvShape(";", comma_columns=frozenset([2])),
            0,
            "read as UTF-16, semicolon-separated, decimal commas; saves as UTF-8",
        ),
    ],
)
def test_the_line_that_says_what_was_taken(reading: object, shape: object, replaced: int, line: str) -> None:
    assert sniffing.describe(reading, shape, replaced) == line
