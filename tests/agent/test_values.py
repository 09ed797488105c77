"""Values are shown and saved as they were read or typed: no display format and no error text reaches a file."""

from __future__ import annotations

import csv
import datetime
import io
import json
import shutil
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hosted_visidata import CASES, Opened, open_files, run_script

from app.agent.visidata.hosted import plain

# Each job opens a file, sets types of columns, as `%` and `@` do, and saves the sheet under several names.
CONVERT = """
import json, sys
from visidata import AttrDict, BaseSheet, Path, vd
vd.loadConfigAndPlugins(AttrDict())

for job in json.loads(sys.argv[1]):
    sheet = vd.openSource("./" + job["open"])
    vd.sync(sheet.ensureLoaded())
    if "table" in job:
        sheet = next(each for each in sheet.rows if each.name.endswith(job["table"]))
        vd.sync(sheet.ensureLoaded())
        vd.sync()  # The workbook may have begun to load it.
    for name, kind in job.get("types", {}).items():
        sheet.column(name).type = vd.getGlobals()[kind]
    for name, kind in job.get("formats", {}).items():
        sheet.column(name).fmtstr = kind
    exec(job.get("edit", ""), {"sheet": sheet, "vd": vd})
    vd.statuses.clear()
    for target in job["save"]:
        vd.sync(vd.saveSheets(Path(target), sheet, confirm_overwrite=False))
    rows = [[column.getDisplayValue(row) for column in sheet.visibleCols] for row in sheet.rows]
    said = [" ".join(map(str, message)) for _, message in vd.statuses]
    print(json.dumps({"rows": rows, "said": said}))
"""


def convert(home: Path, *jobs: dict[str, Any]) -> list[dict[str, Any]]:
    """Save what each job says; what the screen showed, and what VisiData said."""
    return run_script(home, CONVERT, json.dumps(jobs))


ALL = (
    "csv",
    "tsv",
    "json",
    "jsonl",
    "xlsx",
    "parquet",
    "arrow",
    "vds",
    "sqlite",
    "dta",
    "npy",
    "fixed",
    "md",
    "html",
    "rec",
)
TYPED = ("xlsx", "parquet", "arrow", "vds", "sqlite", "dta", "npy")
JOBS: dict[str, dict[str, Any]] = {
    "floats.csv": {"types": {"lat": "float", "lon": "float", "amount": "float"}, "formats": {"lat": "%.1f"}},
    "floats.parquet": {},
    "times.csv": {"types": {"when": "date"}},
    "dates.csv": {"types": {"tag": "date"}},
    "mixed.csv": {"types": {"amount": "float", "when": "date", "qty": "int"}},
    "lines-newlines.csv": {},
    "types.parquet": {},
    "types.h5": {"table": "table"},
    "labels.dta": {},
    "sheet-legacy.xls": {"table": "neu"},
    "odd-tables.sqlite": {"table": "plain"},
}


class Saved:
    """All cases, opened by one VisiData and saved in every format; those with types are opened again by another."""

    def __init__(self, home: Path) -> None:
        self.home = home
        shutil.copytree(CASES, home, dirs_exist_ok=True)
        jobs = [{"open": name, "save": [f"{name}.{kind}" for kind in ALL]} | job for name, job in JOBS.items()]
        self.shown = dict(zip(JOBS, convert(home, *jobs), strict=True))
        again = [f"{name}.{kind}" for name in JOBS for kind in (*TYPED, "tsv")]
        self._again = dict(zip(again, open_files(home, again), strict=True))

    def text(self, name: str) -> str:
        return (self.home / name).read_text()

    def records(self, name: str) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.text(name), newline="")))

    def objects(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text(name).splitlines()]

    def again(self, name: str) -> Opened:
        opened = self._again[name]
        return opened.sheets[0] if opened.sheets else opened


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return Saved(tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize("case", JOBS)
def test_every_format_takes_every_case_without_an_error(saved: Saved, case: str) -> None:
    for kind in ALL:
        content = (saved.home / f"{case}.{kind}").read_bytes()
        assert content and b"#ERR" not in content, kind
    assert not [said for said in saved.shown[case]["said"] if "Error" in said or "rror:" in said]


@pytest.mark.parametrize("case", JOBS)
def test_every_format_keeps_every_row(saved: Saved, case: str) -> None:
    rows = len(saved.shown[case]["rows"])
    assert len(saved.records(f"{case}.csv")) == len(saved.objects(f"{case}.jsonl")) == rows
    for kind in (*TYPED, "tsv"):
        assert len(saved.again(f"{case}.{kind}").rows) == rows, kind


def test_floats_keep_every_digit_whatever_the_screen_shows(saved: Saved) -> None:
    assert saved.shown["floats.csv"]["rows"][0] == ["1", "52.5", "13.40", "0.00"]
    assert (saved.home / "floats.csv.csv").read_bytes() == (CASES / "floats.csv").read_bytes()
    assert saved.objects("floats.csv.jsonl")[0] == {"id": "1", "lat": 52.520008, "lon": 13.404954, "amount": 0.00042}
    assert (
        saved.text("floats.parquet.csv") == "lat,tiny,big\n52.520008,0.00042,123456789.123456\n48.137154,1e-09,1e+20\n"
    )
    assert "52.520008" in saved.text("floats.csv.fixed") and "12345.6789" in saved.text("floats.csv.html")
    assert saved.again("floats.parquet.xlsx").rows == [
        ["52.520008", "0.00042", "123456789.123456"],
        ["48.137154", "1e-09", "1e+20"],
    ]


def test_times_of_day_are_shown_and_saved(saved: Saved) -> None:
    times = [["2024-03-31 01:30:00", "a"], ["2024-03-31 14:45:10", "b"]]
    assert saved.shown["times.csv"]["rows"] == times
    assert (saved.home / "times.csv.csv").read_bytes() == (CASES / "times.csv").read_bytes()
    for kind in TYPED:
        assert saved.again(f"times.csv.{kind}").rows == times, kind


def test_a_date_with_dots_begins_with_the_day(saved: Saved) -> None:
    dates = [["2024-04-03"], ["2024-12-31"], ["2024-04-05"], ["2024-12-25"]]
    assert saved.shown["dates.csv"]["rows"] == dates
    assert [list(record.values()) for record in saved.records("dates.csv.csv")] == dates
    assert [list(record.values()) for record in saved.objects("dates.csv.jsonl")] == dates
    for kind in TYPED:
        assert saved.again(f"dates.csv.{kind}").rows == dates, kind


def test_text_that_is_not_of_its_columns_type_stays_as_it_is(saved: Saved) -> None:
    assert saved.records("mixed.csv.csv") == [
        {"item": "apple", "amount": "1.5", "when": "2024-01-05", "qty": "3"},
        {"item": "pear", "amount": "n/a", "when": "soon", "qty": "12 kg"},
        {"item": "plum", "amount": "2,5", "when": "2024-12-31", "qty": ""},
        {"item": "fig", "amount": "7", "when": "2024-13-45", "qty": "4.9"},
    ]
    assert saved.objects("mixed.csv.jsonl")[1] == {"item": "pear", "amount": "n/a", "when": "soon", "qty": "12 kg"}
    for kind in TYPED:
        row = saved.again(f"mixed.csv.{kind}").rows[1]
        assert row == ["pear", "n/a", "soon", "12 kg"], kind
    said = saved.shown["mixed.csv"]["said"]
    assert any(line.startswith("column `amount` is saved as text") and "'n/a'" in line for line in said)


def test_cells_with_line_ends_stay_cells(saved: Saved) -> None:
    notes = [["1", "a\r\nb"], ["2", "c\nd"], ["3", "tab\there"]]
    for kind in (*TYPED, "tsv"):
        assert saved.again(f"lines-newlines.csv.{kind}").rows == notes, kind
    spreadsheet = csv.reader(
        io.StringIO((saved.home / "lines-newlines.csv.tsv").read_bytes().decode(), newline=""), "excel-tab"
    )
    assert list(spreadsheet)[1:] == notes
    assert (
        "saved in quotes, since cells hold line ends, delimiters or quotes: note"
        in saved.shown["lines-newlines.csv"]["said"]
    )
    assert saved.text("lines-newlines.csv.fixed").count("\n") == 4
    assert saved.text("lines-newlines.csv.md").count("\n") == 6  # Header, rule, three rows, an empty line.


def test_every_type_of_parquet_is_saved(saved: Saved) -> None:
    first, second, third = saved.records("types.parquet.csv")
    assert first == {
        "dec": "12345678901234567890.123456789",
        "ts_tz": "2024-03-31 03:30:00+02:00",
        "ts_ns": "1970-01-01 00:00:00.000000001",
        "date": "0001-01-01",
        "time": "23:59:59.999999",
        "dur": "-23:59:55",
        "u64": "18446744073709551615",
        "int_null": "1",
        "list": '[{"k": 1, "v": ["a", null]}]',
        "map": '[["x", 1], ["y", 2]]',
        "bin": "0x00ff",
        "dict": "red",
        "none": "",
    }
    assert (second["date"], second["ts_ns"]) == ("9999-12-31", "2024-03-31 00:59:59.999999999")
    assert (third["dec"], third["time"], third["dur"]) == ("-1E-9", "00:00:00", "0:00:00")
    assert saved.objects("types.parquet.jsonl")[0]["ts_tz"] == "2024-03-31T03:30:00+02:00"
    assert saved.again("types.parquet.xlsx").rows[0][:7] == list(first.values())[:7]
    shown = saved.shown["types.parquet"]["rows"]
    assert shown[0][1] == "2024-03-31 03:30:00+02:00" and [row[4] for row in shown] == [
        "23:59:59.999999",
        "",
        "00:00:00",
    ]


def test_parquet_saved_as_parquet_is_the_same_table(saved: Saved) -> None:
    script = """
import json
from pyarrow import parquet, ipc
old, new = parquet.read_table("types.parquet"), parquet.read_table("types.parquet.parquet")
arrow = ipc.open_file("types.parquet.arrow").read_all()
print(json.dumps([new.schema.equals(old.schema), new.equals(old), arrow.equals(old)]))
"""
    assert run_script(saved.home, script) == [[True, True, True]]


def test_text_of_hdf5_is_text_and_a_missing_date_is_missing(saved: Saved) -> None:
    assert saved.shown["types.h5"]["rows"] == [["Köln", "1", "0.50"], ["Bonn", "2", ""]]
    assert saved.objects("types.h5.jsonl") == [{"city": "Köln", "n": 1, "x": 0.5}, {"city": "Bonn", "n": 2}]
    first, second = saved.shown["labels.dta"]["rows"]
    assert (first[:3], second[:3]) == (["2024-02-29", "f", "1.00"], ["", "m", ""])
    assert [record["day"] for record in saved.records("labels.dta.csv")] == ["2024-02-29", ""]


def test_dates_of_old_excel_files_are_dates(saved: Saved) -> None:
    row = ["2024-02-29", "23:59:00", "0.30000000000000004", "True", ""]
    assert saved.shown["sheet-legacy.xls"]["rows"][0] == row
    assert list(saved.records("sheet-legacy.xls.csv")[0].values()) == row
    assert saved.again("sheet-legacy.xls.xlsx").rows[0] == row


def test_xlsx_keeps_numbers_dates_and_text_that_looks_like_a_formula(tmp_path: Path) -> None:
    make = """
import datetime, openpyxl
book = openpyxl.Workbook()
sheet = book.active
sheet.append(["day", "at", "n", "ok", "id", "formula", "text"])
sheet.append([datetime.date(2024, 2, 29), datetime.datetime(2024, 3, 31, 1, 30), 0.25, True, 9007199254740991, None, "007"])
sheet["F2"].value, sheet["F2"].data_type = "=1+1", "s"
book.save("book.xlsx")
"""
    run_script(tmp_path, make)
    edit = "sheet.column('text').setValue(sheet.rows[0], 'edited')"
    convert(tmp_path, {"open": "book.xlsx", "table": "Sheet", "edit": edit, "save": ["again.xlsx", "again.csv"]})
    look = """
import json, openpyxl
_, row = openpyxl.load_workbook("again.xlsx").active.iter_rows()
print(json.dumps([[str(cell.value), cell.data_type, cell.is_date] for cell in row]))
"""
    (cells,) = run_script(tmp_path, look)
    assert cells == [
        ["2024-02-29 00:00:00", "d", True],
        ["2024-03-31 01:30:00", "d", True],
        ["0.25", "n", False],
        ["True", "b", False],
        ["9007199254740991", "n", False],
        ["=1+1", "s", False],
        ["edited", "s", False],
    ]
    rows = (tmp_path / "again.csv").read_text().splitlines()
    assert rows[1] == "2024-02-29,2024-03-31 01:30:00,0.25,True,9007199254740991,=1+1,edited"


def test_ids_beyond_2_to_the_53_stay_exact(tmp_path: Path) -> None:
    (tmp_path / "ids.json").write_text('[{"id": 9007199254740993, "n": null}, {"id": 18446744073709551617, "n": 1}]')
    kinds = {"id": "float"}  # Also where a person takes them for other numbers.
    names = [f"ids.{kind}" for kind in ("jsonl", "csv", "sqlite", "parquet", "xlsx", "vds")]
    convert(
        tmp_path,
        {"open": "ids.json", "save": names},
        {"open": "ids.json", "types": kinds, "save": [f"f{n}" for n in names]},
    )
    for name in ("ids.jsonl", "fids.jsonl", "ids.csv", "fids.csv"):
        lines = (tmp_path / name).read_text()
        assert "9007199254740993" in lines and "18446744073709551617" in lines, name
    for opened in open_files(tmp_path, [f"{prefix}{name}" for prefix in ("", "f") for name in names[2:5]]):
        sheet = opened.sheets[0] if opened.sheets else opened
        assert [row[0] for row in sheet.rows] == ["9007199254740993", "18446744073709551617"], opened.source


def test_columns_of_equal_names_are_all_kept(tmp_path: Path) -> None:
    (tmp_path / "twice.csv").write_text("a,b,a,A\n1,2,3,4\n")
    names = [f"twice.{kind}" for kind in ("vds", "jsonl", "parquet", "sqlite")]
    (job,) = convert(tmp_path, {"open": "twice.csv", "save": names})
    vds, jsonl, parquet, sqlite = open_files(tmp_path, names)
    assert (vds.sheets[0].names, vds.sheets[0].rows) == (["a", "b", "a", "A"], [["1", "2", "3", "4"]])
    assert (jsonl.names, parquet.names) == (["a", "b", "a_2", "A"], ["a", "b", "a_2", "A"])
    assert sqlite.sheets[0].names == ["a", "b", "a_2", "A_3"]
    assert {tuple(each.rows[0]) for each in (jsonl, parquet, sqlite.sheets[0])} == {("1", "2", "3", "4")}
    assert "JSON cannot hold two columns named `a`; the second is saved as `a_2`" in job["said"]


def test_decimal_commas_are_numbers_in_typed_files_and_stay_in_text_files(tmp_path: Path) -> None:
    (tmp_path / "sums.csv").write_text("who;sum\nAda;1.234,56\nBob;1.234\nEve;n/a\n")
    job = {"open": "sums.csv", "types": {"sum": "float"}, "save": ["saved.csv", "saved.tsv", "saved.jsonl"]}
    convert(tmp_path, job)
    assert (tmp_path / "saved.csv").read_text() == (tmp_path / "sums.csv").read_text()
    assert (tmp_path / "saved.tsv").read_text().splitlines()[1:] == ["Ada\t1.234,56", "Bob\t1.234", "Eve\tn/a"]
    rows = [json.loads(line)["sum"] for line in (tmp_path / "saved.jsonl").read_text().splitlines()]
    assert rows == [1234.56, 1234.0, "n/a"]


def test_a_date_that_names_no_year_is_saved_as_the_text_that_it_is(tmp_path: Path) -> None:
    (tmp_path / "days.csv").write_text("day\n7\n5 March\n10:30\nMarch 2024\n31.12.2024 14:45\n2024-03-31T01:30+02:00\n")
    convert(tmp_path, {"open": "days.csv", "types": {"day": "date"}, "save": ["saved.csv"]})
    kept = ["day", "7", "5 March", "10:30", "2024-03-01", "2024-12-31 14:45:00", "2024-03-31T01:30+02:00"]
    assert (tmp_path / "saved.csv").read_text().splitlines()[:4] == kept[:4]
    assert (tmp_path / "saved.csv").read_text().splitlines()[5:] == kept[5:]


def test_what_is_computed_is_saved_in_full(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("n,at\n1,2024-03-31 01:30:00\n3,2024-03-30\n")
    edit = """
from visidata import ExprColumn, date
sheet.column("n").type, sheet.column("at").type = int, date
sheet.addColumn(ExprColumn("third", expr="n/3", type=float), ExprColumn("later", expr="at+1", type=date))
sheet.addColumn(ExprColumn("wrong", expr="n/0"))
"""
    convert(tmp_path, {"open": "n.csv", "edit": edit, "save": ["saved.csv"]})
    first, second = (tmp_path / "saved.csv").read_text().splitlines()[1:]
    assert first == "1,2024-03-31 01:30:00,0.3333333333333333,2024-04-01 01:30:00,#ERR"
    assert second == "3,2024-03-30,1.0,2024-03-31,#ERR"  # A formula that fails has no value to save.


def test_a_tsv_whose_line_ends_come_late_is_read_back_whole(tmp_path: Path) -> None:
    with (tmp_path / "late.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["n", "note"], *([n, "plain text"] for n in range(9000)), ["x", "two\nlines"]])
    convert(tmp_path, {"open": "late.csv", "save": ["late.tsv"]})
    (late,) = open_files(tmp_path, ["late.tsv"])
    assert (len(late.rows), late.rows[0], late.rows[-1]) == (9001, ["0", "plain text"], ["x", "two\nlines"])


def test_copying_and_editing_begin_with_the_whole_value(tmp_path: Path) -> None:
    shutil.copy(CASES / "floats.parquet", tmp_path)
    script = """
import json
from visidata import AttrDict, vd
vd.loadConfigAndPlugins(AttrDict())
sheet = vd.openSource("floats.parquet")
vd.sync(sheet.ensureLoaded())
print(json.dumps([column.getFullDisplayValue(sheet.rows[0]) for column in sheet.columns]))
"""
    assert run_script(tmp_path, script) == [["52.520008", "0.00042", "123456789.123456"]]


# One value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e20, "1e+20"),
        (float("inf"), "inf"),
        (2**70, str(2**70)),
        (True, "True"),
        (Decimal("1.10"), "1.10"),
        (datetime.date(1, 1, 1), "0001-01-01"),
        (datetime.datetime(2024, 3, 31), "2024-03-31 00:00:00"),
        (datetime.datetime(2024, 3, 31, 1, 30, tzinfo=datetime.UTC), "2024-03-31 01:30:00+00:00"),
        (datetime.time(1, 30), "01:30:00"),
        (datetime.timedelta(days=1, hours=2, seconds=3.5), "26:00:03.5"),
        (datetime.timedelta(seconds=-0.25), "-0:00:00.25"),
        (b"K\xc3\xb6ln", "Köln"),
        (b"\xff", "0xff"),
        ({"a": [1, None, Decimal("0.1")]}, '{"a": [1, null, "0.1"]}'),
        ("=1+1", "=1+1"),
    ],
)
def test_the_text_of_a_value_in_a_file(value: object, text: str) -> None:
    assert plain.text(value) == text


@pytest.mark.parametrize(
    ("given", "kind", "number"),
    [
        ("52.520008", float, 52.520008),
        ("n/a", float, "n/a"),
        ("9007199254740993", float, 9007199254740993),
        ("4.9", int, "4.9"),
    ],
)
def test_a_number_that_text_holds(given: str, kind: type, number: object) -> None:
    assert plain.number(given, kind) == number


def test_names_become_unique_and_stay_so() -> None:
    assert plain.unique(["a", "a", "a_2", "b", "a"]) == ["a", "a_2", "a_2_2", "b", "a_3"]
    assert plain.unique(["a", "A"], str.casefold) == ["a", "A_2"]


# Databases


def test_changes_to_a_database_are_written_as_they_are_or_not_at_all(tmp_path: Path) -> None:
    shutil.copy(CASES / "odd-tables.sqlite", tmp_path / "odd.sqlite")
    script = """
import json, sqlite3
from visidata import AttrDict, vd
from visidata.loaders.sqlite import SqliteSheet
vd.loadConfigAndPlugins(AttrDict())
index = vd.openSource("odd.sqlite")
vd.sync(index.ensureLoaded())
sheets = {sheet.tableName: sheet for sheet in index.rows}
vd.sync(*(sheet.ensureLoaded() for sheet in sheets.values()))
vd.sync()
SqliteSheet.reload = lambda sheet: None  # It draws, for which there is no terminal here.

def commit(name, *changes):
    sheet = sheets[name]
    for row, column, value in changes:
        sheet.column(column).setValue(sheet.rows[row], value)
    vd.statuses.clear()
    vd.sync(sheet.putChanges())
    print(json.dumps([" ".join(map(str, message)) for _, message in vd.statuses if "Attribute" not in str(message)]))

rows = [(row, sheet.visibleCols) for sheet in sheets.values() for row in sheet.rows]
print(json.dumps([[column.getDisplayValue(row) for column in columns] for row, columns in rows]))
other = sqlite3.connect("odd.sqlite")
other.execute("BEGIN EXCLUSIVE")
commit("plain", (0, "t", "new"), (1, "big", 7))
other.rollback()
commit("plain")
commit("norowid", (0, "v", "changed"))
commit('it\\'s "odd" %s', (0, "select", 5), (0, "", "it's"))
commit("v", (0, "big", 3))
"""
    shown, locked, *done, view = run_script(tmp_path, script)
    assert ["2", "", "", "-1", "not a day"] in shown
    assert ["1", "x", "0.50"] in shown
    assert locked == ["nothing was saved: another program has locked the database; try again when it is done"]
    assert done == [[], [], []]
    assert view == ["nothing was saved: the rows of v cannot be told apart, since it has no key"]
    with sqlite3.connect(tmp_path / "odd.sqlite") as database:
        assert database.execute("SELECT id, t, big, d FROM plain").fetchall() == [
            (1, "new", 9223372036854775807, "2024-02-29"),
            (2, None, 7, "not a day"),
        ]
        assert database.execute("SELECT * FROM norowid").fetchall() == [("a", "changed"), ("b", "two")]
        assert database.execute("""SELECT * FROM "it's ""odd"" %s" """).fetchall() == [(5, "it's", 0.5)]
    database.close()


def test_a_save_to_a_database_does_not_wait_for_work_on_other_sheets(tmp_path: Path) -> None:
    for name in ("saved.csv", "other.csv"):
        (tmp_path / name).write_text("a\n1\n")
    script = """
import json, threading
from visidata import AttrDict, Path, vd
vd.loadConfigAndPlugins(AttrDict())
sheet = vd.openSource("saved.csv")
vd.sync(sheet.ensureLoaded())
vd.execAsync(threading.Event().wait, sheet=vd.openSource("other.csv"))
thread = vd.saveSheets(Path("saved.sqlite"), sheet, confirm_overwrite=False)
thread.join(30)
print(json.dumps(thread.is_alive()))
"""
    assert run_script(tmp_path, script) == [False]
