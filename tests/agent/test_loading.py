"""Files of all kinds open as what they are, or say what is wrong with them."""

from __future__ import annotations

import functools
import gzip
import json
import shutil
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from agent_run import until
from hosted_visidata import CASES, OPEN_ALL, Opened, open_files, run_script
from test_visidata import INTO_CELLS, folder, home, start

__all__ = ["folder", "home"]  # Fixtures.


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Opened]]:
    """Every file in `cases`, opened in one session."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(CASES, home, dirs_exist_ok=True)
    names = sorted(path.name for path in CASES.iterdir())
    yield dict(zip(names, open_files(home, [f"./{name}" for name in names]), strict=True))


CITIES = [["Köln", "“1”"], ["Łódź", "2"], ["São Paulo", "3"]]
ROWS = {
    "encoding-bom.json": (["Städte", "n"], [["Köln", "1"]]),
    "encoding-bom.jsonl": (["n"], [["1"], ["2"]]),
    "encoding-utf16le-bom.csv": (["Städte", "Größe €"], CITIES),
    "encoding-utf16be-bom.tsv": (["Städte", "Größe €"], CITIES),
    "encoding-utf8-bom.csv": (["Städte", "Größe €"], CITIES),
    "encoding-utf8.csv": (["Städte", "Größe €"], CITIES),
    "encoding-cp1252.csv": (["Städte", "Größe €"], [["Köln", "“1”"], ["São Paulo", "3"]]),
    "lines-quoted-newline.tsv": (["id", "note"], [["1", "two\nlines"], ["2", "a\ttab"], ["3", 'plain "quotes"']]),
    "lines-lone-cr.tsv": (["id", "note"], [["1", "one\rtwo"], ["2", "three\r"], ["3", "last"]]),
    "lines-mac.csv": (["id", "note"], [["1", "one"], ["2", "two"]]),
    "lines-newlines.csv": (["id", "note"], [["1", "a\r\nb"], ["2", "c\nd"], ["3", "tab\there"]]),
    "semicolon.csv": (["Name", "Ort", "Betrag"], [["Ada", "Köln", "1.234,56"], ["Bob", "Bonn", "7,00"]]),
    "sep.csv": (["Name", "Ort"], [["Ada", "Bonn"]]),
    "utf16.json": (["Stadt", "n"], [["Köln", "1"]]),
}


@pytest.mark.parametrize("name", ROWS)
def test_text_is_read_as_it_was_meant(cases: dict[str, Opened], name: str) -> None:
    opened = cases[name]
    assert (opened.names, opened.rows, opened.problem) == (*ROWS[name], None)


def test_xml_and_html_are_read_in_the_encoding_that_they_declare(cases: dict[str, Opened]) -> None:
    xml = cases["latin1.xml"]
    assert [row[xml.names.index("text")] for row in xml.rows] == ["", "Köln", "Bonn"]
    table = cases["latin1.html"].sheets[0]
    assert (table.names, table.rows) == (["Städte"], [["Köln"]])


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("encoding-cp1252.csv", "read as Windows-1252 (a guess; zO encoding changes it); saves as UTF-8"),
        ("encoding-utf16le-bom.csv", "read as UTF-16; saves as UTF-8"),
        ("semicolon.csv", "semicolon-separated, decimal commas"),
        ("sep.csv", "semicolon-separated"),
        ("lines-quoted-newline.tsv", "quoted cells"),
    ],
)
def test_one_line_says_what_was_taken(cases: dict[str, Opened], name: str, line: str) -> None:
    assert any(said.endswith(f": {line}") for said in cases[name].said)


@pytest.mark.parametrize("name", ["encoding-utf8.csv", "encoding-utf8-bom.csv", "lines-mac.csv", "lines-lone-cr.tsv"])
def test_nothing_is_said_of_what_is_as_usual(cases: dict[str, Opened], name: str) -> None:
    assert [said for said in cases[name].said if not said.startswith("opening ")] == []


SAVE = """
import sys
from visidata import AttrDict, Path, vd
vd.loadConfigAndPlugins(AttrDict())
for name, target in zip(sys.argv[1::2], sys.argv[2::2]):
    sheet = vd.openSource("./" + name)
    vd.sync(sheet.ensureLoaded())
    vd.sync(vd.saveSheets(Path(target), sheet, confirm_overwrite=False))
"""


def test_a_save_is_utf_8_with_the_delimiter_that_was_read(tmp_path: Path) -> None:
    shutil.copytree(CASES, tmp_path, dirs_exist_ok=True)
    (tmp_path / "escapes.json").write_text('[{"text": "a \\ud83d lone half", "whole": "\\ud83d\\ude00"}]')
    (tmp_path / "late.csv").write_bytes(b"n,city\n" + b"1,Bonn\n" * 20000 + b"2,K\xf6ln\n")
    saves = {
        "semicolon.csv": "semicolon-again.csv",
        "encoding-cp1252.csv": "western.csv",
        "encoding-utf16le-bom.csv": "wide.csv",
        "lines-lone-cr.tsv": "lone-cr.csv",
        "escapes.json": "escapes.csv",
        "late.csv": "late-again.csv",
    }
    run_script(tmp_path, SAVE, *(name for pair in saves.items() for name in pair))
    assert (tmp_path / "semicolon-again.csv").read_text() == "Name;Ort;Betrag\nAda;Köln;1.234,56\nBob;Bonn;7,00\n"
    assert (tmp_path / "western.csv").read_text() == "Städte,Größe €\nKöln,“1”\nSão Paulo,3\n"
    assert (tmp_path / "wide.csv").read_text().splitlines() == ["Städte,Größe €", "Köln,“1”", "Łódź,2", "São Paulo,3"]
    assert (tmp_path / "lone-cr.csv").read_bytes() == b'id,note\r\n1,"one\rtwo"\r\n2,"three\r"\r\n3,last\r\n'
    assert (tmp_path / "escapes.csv").read_text() == "text,whole\na � lone half,😀\n"
    assert (tmp_path / "late-again.csv").read_text().endswith("\n1,Bonn\n2,Köln\n")


def test_numbers_with_decimal_commas_can_be_summed_and_stay_text_in_files(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text("item;price;id\na;1.234,56;1.234\nb;7,00 €;2.5\nc;n/a;x\nd;-0,5;3\n")
    script = """
import json
from visidata import AttrDict, Path, vd
vd.loadConfigAndPlugins(AttrDict())
sheet = vd.openSource("prices.csv")
vd.sync(sheet.ensureLoaded())
price, number = sheet.columns[1:]
for column, kind in ((price, float), (price, vd.getGlobals()["currency"]), (number, float)):
    column.type = kind
    values = [column.getTypedValue(row) for row in sheet.rows]
    print(json.dumps([value if isinstance(value, float) else None for value in values]))
vd.sync(vd.saveSheets(Path("again.csv"), sheet, confirm_overwrite=False))
"""
    floats, currency, plain = run_script(tmp_path, script)
    assert floats == [1234.56, None, None, -0.5]
    assert currency == [1234.56, 7.0, None, -0.5]
    assert plain == [1.234, 2.5, None, 3.0]
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "prices.csv").read_text()


def test_what_the_person_sets_is_not_guessed(tmp_path: Path) -> None:
    (tmp_path / ".visidatarc").write_text("options.encoding = 'cp437'\noptions.csv_delimiter = ','\n")
    (tmp_path / "dos.csv").write_bytes("Name;Ort,b\nAda;Köln,c\n".encode("cp437"))
    (dos,) = open_files(tmp_path, ["dos.csv"])
    assert (dos.names, dos.rows) == (["Name;Ort", "b"], [["Ada;Köln", "c"]])
    assert dos.said == ["opening dos.csv as csv"]


def test_bytes_that_are_no_utf_8_far_into_a_file_are_read_and_counted(tmp_path: Path) -> None:
    (tmp_path / "late.csv").write_bytes("n,city\n1,Łódź\n".encode() + b"1,Bonn\n" * 20000 + b"2,K\xf6ln\n")
    (late,) = open_files(tmp_path, ["late.csv"])
    assert (late.rows[0], late.rows[-1]) == (["1", "Łódź"], ["2", "Köln"])
    assert "late: 1 byte is not UTF-8, read as Windows-1252" in late.said


def test_a_member_of_a_zip_is_read_like_a_file(tmp_path: Path) -> None:
    names = ("encoding-utf16le-bom.csv", "semicolon.csv", "lines-quoted-newline.tsv")
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as file:
        for name in names:
            file.write(CASES / name, name)
    setup = """
zipped = vd.openSource("both.zip")
vd.sync(zipped.ensureLoaded())
open_source = vd.openSource
vd.openSource = lambda it, **options: zipped.openRow(zipped.rows[int(it)]) if isinstance(it, str) else open_source(it)
"""
    script = OPEN_ALL.replace("for path in json", setup + "for path in json")
    wide, semicolon, quoted = (Opened.of(found) for found in run_script(tmp_path, script, '["0", "1", "2"]'))
    assert quoted.rows == ROWS["lines-quoted-newline.tsv"][1]
    assert (wide.names, wide.rows) == (["Städte", "Größe €"], CITIES)
    assert (semicolon.names, semicolon.rows[0]) == (["Name", "Ort", "Betrag"], ["Ada", "Köln", "1.234,56"])


def test_an_address_is_read_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "encoding-cp1252.csv").write_bytes((CASES / "encoding-cp1252.csv").read_bytes())
    (tmp_path / "lines-newlines.csv").write_bytes((CASES / "lines-newlines.csv").read_bytes())
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        base = f"http://127.0.0.1:{server.server_port}/"
        western, lines = open_files(tmp_path, [base + "encoding-cp1252.csv", base + "lines-newlines.csv"])
        server.shutdown()
        serving.join()
    assert (western.names, western.rows) == (["Städte", "Größe €"], [["Köln", "“1”"], ["São Paulo", "3"]])
    assert any("read as Windows-1252" in said for said in western.said)
    assert lines.rows[:2] == [["1", "a\r\nb"], ["2", "c\nd"]]


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return


def test_a_wrong_guess_is_put_right_by_the_sheets_option(tmp_path: Path) -> None:
    (tmp_path / "polish.csv").write_bytes("miasto\nŁódź\n".encode("cp1250"))
    script = """
import json
from visidata import AttrDict, vd
vd.loadConfigAndPlugins(AttrDict())
sheet = vd.openSource("polish.csv")
vd.sync(sheet.ensureLoaded())
sheet.options.encoding = "cp1250"
vd.statuses.clear()
vd.sync(sheet.reload())
print(json.dumps([sheet.rows[0][0], list(vd.statuses)]))
"""
    assert run_script(tmp_path, script) == [["Łódź", []]]


# Loads that fail, or are stopped


def test_a_load_that_fails_or_is_stopped_shows_in_the_status_line_until_the_sheet_is_reloaded(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(b"%d,row\n" % number for number in range(50_000)))
    (tmp_path / "cut.csv.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "bad.json").write_text("{not json")
    (tmp_path / "few.csv").write_text("n\n" + "1\n" * 20)
    (tmp_path / ".visidatarc").write_text("options.max_rows = 100000\n")
    cut, bad, few = open_files(tmp_path, ["cut.csv.gz", "bad.json", "few.csv"])
    assert cut.problem == "not loaded to the end: the file is cut off"
    assert 1000 < len(cut.rows) < 50_000
    assert bad.problem is not None and bad.problem.startswith("not loaded: JSONDecodeError")
    assert few.problem is None
    for opened in (cut, bad):
        assert opened.problem is not None and opened.problem in opened.status
    script = """
import json, os
from visidata import AttrDict, EscapeException, vd
vd.loadConfigAndPlugins(AttrDict())
sheet = vd.openSource("few.csv")

def stopped():
    yield ["n"]
    yield ["1"]
    raise EscapeException()

whole, sheet.iterload = sheet.iterload, stopped
vd.sync(sheet.reload())
problems = [sheet.load_problem]
sheet.iterload = whole
vd.sync(sheet.reload())
problems.append(sheet.load_problem)
sheet.options.max_rows = 5
vd.sync(sheet.reload())
problems.append(sheet.load_problem)
os.unlink("few.csv")
vd.sync(sheet.reload())
problems += [sheet.load_problem, sheet.nRows]
print(json.dumps(problems))
"""
    assert run_script(tmp_path, script)[0] == [
        "stopped: only 1 row was loaded",
        None,
        "only the first 5 rows were loaded (option max_rows)",
        "only the first 5 rows were loaded (option max_rows)",
        5,  # A reload of a file that is gone loses nothing.
    ]


def test_every_kind_of_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    """Also those whose sheets load in a way of their own."""
    names = [
        "bad.parquet",
        "bad.arrow",
        "bad.dta",
        "bad.geojson",
        "bad.json",
        "bad.h5",
        "bad.sqlite",
        "bad.xls",
        "bad.zip",
    ]
    starts = {"bad.parquet": b"PAR1", "bad.arrow": b"ARROW1", "bad.sqlite": b"SQLite format 3\0"}
    for name in names:
        (tmp_path / name).write_bytes(starts.get(name, b"\x01\x02") + bytes(range(256)) * 4)
    (tmp_path / "deep").mkdir()
    long = "deep/" + "x" * 300 + ".csv"
    *opened, too_long = open_files(tmp_path, [*names, long])
    for name, found in zip(names, opened, strict=True):
        assert found.problem and found.problem in found.status, (name, found)
    assert too_long.kind == "DirSheet"
    assert any("File name too long" in said for said in too_long.said)


def test_a_zstandard_file_is_read_to_its_end_and_vds_opens_again(tmp_path: Path) -> None:
    (tmp_path / "semicolon.csv").write_bytes((CASES / "semicolon.csv").read_bytes())
    run_script(tmp_path, SAVE, "semicolon.csv", "kept.vds.zst")
    script = "import sys, zstandard\nopen('two.csv.zst', 'wb').write(zstandard.compress(b'n\\n1\\n') + zstandard.compress(b'2\\n'))"
    run_script(tmp_path, script)
    kept, two = open_files(tmp_path, ["kept.vds.zst", "two.csv.zst"])
    assert (kept.sheets[0].names, kept.sheets[0].rows[0]) == (["Name", "Ort", "Betrag"], ["Ada", "Köln", "1.234,56"])
    assert two.rows == [["1"], ["2"]]


# Names that say one thing, and bytes that say another


def test_a_misnamed_file_is_named_as_what_it_is_and_opens_as_that(cases: dict[str, Opened]) -> None:
    html = cases["sheet-html-named.xls"]
    assert "sheet-html-named.xls is HTML, not Excel (xls): opened as what it is" in html.said
    assert (html.sheets[0].names, html.sheets[0].rows) == (["a", "b"], [["1", "2"]])
    table = cases["really-csv.xlsx"]
    assert "really-csv.xlsx is CSV, not Excel (xlsx): opened as what it is" in table.said
    assert table.names == ["item", "amount", "when", "qty"]
    assert table.rows[2] == ["plum", "2,5", "31.12.2024", ""]


def test_an_encrypted_file_says_so_until_another_takes_its_place(cases: dict[str, Opened]) -> None:
    opened = cases["encrypted.xlsx"]
    assert opened.problem == "the file is encrypted: remove its password in the program that made it"
    assert "encrypted" in opened.status


def test_other_misnamed_files(tmp_path: Path) -> None:
    workbook = (CASES / "sheet-names.xlsx").read_bytes()
    (tmp_path / "workbook.csv").write_bytes(workbook)
    (tmp_path / "cut.xlsx").write_bytes(workbook[:3000])
    (tmp_path / "empty.xlsx").touch()
    (tmp_path / "empty.csv").touch()
    (tmp_path / "packed.csv").write_bytes(gzip.compress(b"n;m\n1;2\n"))
    (tmp_path / "plain.csv.gz").write_bytes(b"n;m\n1;2\n")
    (tmp_path / "hostile.xlsx").write_text("<!---->" * 9000 + "<?xml" + " " * 5000)
    (tmp_path / "page.csv").write_text("<!DOCTYPE html><html><body>Please log in</body></html>")
    (tmp_path / "text.parquet").write_text("just text\n")
    with zipfile.ZipFile(tmp_path / "secret.ods", "w") as file:
        file.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        file.writestr("META-INF/manifest.xml", "<manifest:encryption-data/>")
    names = sorted(path.name for path in tmp_path.iterdir())
    opened = dict(zip(names, open_files(tmp_path, names), strict=True))
    assert opened["workbook.csv"].sheets[0].name == "workbook_a+b c"
    assert opened["cut.xlsx"].problem == "damaged or cut off: get the file again"
    assert opened["empty.xlsx"].problem == "the file is empty"
    assert (opened["empty.csv"].problem, opened["empty.csv"].rows) == (None, [])
    assert opened["packed.csv"].rows == opened["plain.csv.gz"].rows == [["1", "2"]]
    assert "packed.csv is compressed (gzip): opened as the csv inside" in opened["packed.csv"].said
    assert "plain.csv.gz is not compressed, whatever its name says" in opened["plain.csv.gz"].said
    assert "page.csv is HTML, not CSV: opened as what it is" in opened["page.csv"].said
    assert opened["text.parquet"].rows == [["just text"]]
    assert opened["secret.ods"].problem is not None and "is encrypted" in opened["secret.ods"].problem


def test_a_type_that_the_person_chose_is_taken(tmp_path: Path) -> None:
    (tmp_path / "table.xls").write_text("a,b\n1,2\n")
    (tmp_path / ".visidatarc").write_text("vd.options.set('filetype', 'txt', Path('table.xls'), cmdlog=False)\n")
    (opened,) = open_files(tmp_path, ["table.xls"])
    assert opened.rows == [["a,b"], ["1,2"]]


# Workbooks


def test_a_workbook_shows_all_its_cells_whatever_it_says_of_its_size(cases: dict[str, Opened]) -> None:
    for name in ("sheet-dimension-says-a1.xlsx", "sheet-no-dimension.xlsx"):
        (sheet,) = cases[name].sheets
        assert (sheet.names, len(sheet.rows)) == (["when", "amount", "what"], 5)
        assert sheet.rows[4][1:] == ["7.5", "row 5"]
    (dates,) = cases["sheet-dates-1904.xlsx"].sheets
    assert dates.rows[0][0].startswith("2024-02-29")


def test_formulas_whose_results_are_missing_are_counted(cases: dict[str, Opened]) -> None:
    (sheet,) = cases["sheet-formulas-without-results.xlsx"].sheets
    assert sheet.problem == "8 formulas have no stored result"
    assert sheet.problem in sheet.status
    (sheet,) = cases["sheet-formulas-with-results.xlsx"].sheets
    assert [row[1] for row in sheet.rows] == ["4", "6", "8", "10"]


# Names


def test_every_name_opens_the_file_of_that_name(tmp_path: Path) -> None:
    names = json.loads((CASES / "file-names.json").read_text())
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(gzip.compress(b"%d" % number) if name.endswith(".gz") else b"%d" % number)
    for given in (lambda name: f"./{name}", lambda name: str(tmp_path / name)):
        for name, opened in zip(names, open_files(tmp_path, [given(name) for name in names]), strict=True):
            text = str(opened.names) + str(opened.rows)
            assert str(names.index(name)) in text, (name, opened)
    clicked = OPEN_ALL.replace(
        "for path in json", "folder = vd.openSource('.')\nfolder.options.dir_hidden = True\nvd.sync(folder.ensureLoaded())\n"
        "rows = {row.name: row for row in folder.rows}\nopen_it = vd.openSource\n"
        "vd.openSource = lambda it, create: open_it(rows[it], filetype=rows[it].ext)\nfor path in json"
    )  # fmt: skip
    for name, found in zip(names, run_script(tmp_path, clicked, json.dumps(names)), strict=True):
        opened = Opened.of(found)
        assert str(names.index(name)) in str(opened.names) + str(opened.rows), (name, opened)


@pytest.mark.parametrize("name", ["100%25.sqlite", "a?b=c.sqlite", "a#b.sqlite", "$HOME.sqlite"])
def test_a_database_of_any_name_opens(tmp_path: Path, name: str) -> None:
    shutil.copy(CASES / "wal-left-behind.sqlite", tmp_path / name)
    (opened,) = open_files(tmp_path, [f"./{name}"])
    assert (opened.sheets[0].rows, opened.problem) == ([["1", "in the main file"]], None)


def test_a_file_that_is_not_there_opens_its_folder_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "other.csv").write_text("n\n1\n")
    here, above = open_files(tmp_path, ["folder/gone.csv", "folder/gone/gone.csv"])
    for opened in (here, above):
        assert opened.kind == "DirSheet"
        assert any("other.csv" in row or "csv" in row for row in opened.rows)
    assert "there is no file folder/gone.csv: this is the folder ~/folder" in here.said


def test_a_database_without_its_log_says_what_may_be_missing(cases: dict[str, Opened]) -> None:
    assert any("wal-left-behind.sqlite-wal" in said for said in cases["wal-left-behind.sqlite"].said)


# In a session


async def test_what_a_person_sees_of_a_file_that_is_missing_or_half_loaded(folder: Path, home: Path) -> None:
    (home / "many.csv").write_text("n,text\n" + "".join(f"{number},some text\n" for number in range(2_000_000)))
    async with start(folder, home, "gone.csv") as agent:
        client = await agent.client(size=(120, 30))
        await client.see("there is no file gone.csv", "many")  # At the start: the folder instead.
        await client.type("o./gone too.csv\r")
        await client.see("there is no file gone too.csv")
        await client.type("omany.csv\r")
        await client.see("many|")
        await client.type("\x03")
        await client.see("stopped: only")
        await client.type("jjk")  # It stays there whatever is done.
        await client.type("F")
        await client.see("percent")
        await client.type("q")
        await client.see("stopped: only")
        (home / "many.csv").write_text("n,text\n1,all of it\n")
        await client.type("\x12")
        await client.see("all of it")
        await client.type("qj")
        (home / "cities.csv").unlink()
        await client.type("\r")
        await client.see("there is no file cities.csv any more")


async def test_text_pasted_with_carriage_returns_leaves_none_in_the_cells(folder: Path, home: Path) -> None:
    async with start(folder, home, "cities.csv") as agent:
        client = await agent.client()
        await client.see("Köln")
        (home / ".cache/visidata-hub/clipboard").write_bytes(b"Bonn\t330000\r\nGera\t93000\r\n")
        await client.type(INTO_CELLS)
        await client.see("330000", "93000")
        await client.type("\x13")
        await client.see("save to")
        await client.type("\x01\x0bpasted.csv\r")
        await until(lambda: (home / "pasted.csv").exists(), "it is saved")
    assert (home / "pasted.csv").read_bytes().count(b"\r") == 4  # Those of the csv's own line ends.


def test_a_save_with_semicolons_sets_no_option_that_a_reload_meanwhile_would_find(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a;b\n1;2\n")
    script = """
import json
from visidata import AttrDict, Column, Path, vd
vd.loadConfigAndPlugins(AttrDict())
sheet = vd.openSource("a.csv")
vd.sync(sheet.ensureLoaded())
before = len(vd._options["csv_delimiter"])
sheet.addColumn(Column("set", getter=lambda column, row: len(vd._options["csv_delimiter"]) - before))
vd.sync(vd.saveSheets(Path("a.csv"), sheet, confirm_overwrite=False))
print(json.dumps(open("a.csv").read()))
"""
    assert run_script(tmp_path, script) == ["a;b;set\n1;2;0\n"]
