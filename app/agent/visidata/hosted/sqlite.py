"""Tables of SQLite: names of any kind, cells as they are, changes that are made whole or not at all."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from visidata import (  # type: ignore[import-not-found]  # It is in the sessions' Python alone.
    Column,
    Progress,
    VisiData,
    anytype,
    asyncthread,
    date,
    vd,
    vlen,
)
from visidata.loaders.sqlite import SqliteIndexSheet, SqliteSheet  # type: ignore[import-not-found]

from . import plain, values
from .text_files import column_names

TYPES = {int: "INTEGER", vlen: "INTEGER", float: "REAL", str: "TEXT", date: "DATE", anytype: ""}
GENERATED = (2, 3)  # Of a column in `table_xinfo`: nothing can be written into it.

_rows_of_table = SqliteSheet.iterload_table


def install() -> None:
    # VisiData puts names between quotes as they are.
    SqliteSheet.iterload_table = lambda sheet, name: _rows_of_table(sheet, name.replace('"', '""'))
    SqliteSheet.putChanges = asyncthread(put_changes)
    SqliteIndexSheet.putChanges = put_index_changes
    VisiData.api(save_sqlite)
    VisiData.save_db = VisiData.save_sqlite


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def sql_value(col: Any, row: Any) -> Any:
    """The cell as SQLite can hold it."""
    value = values.typed(col, row)
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    return value if value is None or isinstance(value, str | float | bytes) else values.text(col, row)


@contextlib.contextmanager
def _transaction(sheet: Any) -> Iterator[sqlite3.Connection]:
    """All of it or nothing. After an error the sheet keeps its changes, and the message says what stood in the way."""
    try:
        with contextlib.closing(sheet.conn()) as connection, connection:
            yield connection
    except sqlite3.Error as error:
        sheet.setModified()
        if "locked" in str(error):
            vd.fail("nothing was saved: another program has locked the database; try again when it is done")
        vd.fail(f"nothing was saved: {error}")
    except BaseException:
        sheet.setModified()
        raise


def put_changes(sheet: Any) -> None:
    if not sheet.tableName:
        vd.fail("only tables can be changed, not the result of a query")
    adds, mods, dels = sheet.getDeferredChanges()
    with _transaction(sheet) as connection:
        table = quote(sheet.tableName)
        columns = connection.execute(f"PRAGMA table_xinfo({table})").fetchall()
        names = {number + 1: quote(name) for number, name, *_, hidden in columns if hidden not in GENERATED}

        def where(row: Any) -> tuple[str, list[Any]]:
            keys = {"rowid": sheet.rowidColumn} if sheet.rowidColumn else {names[c.expr]: c for c in sheet.keyCols}
            if not keys:
                vd.fail(f"nothing was saved: the rows of {sheet.tableName} cannot be told apart, since it has no key")
            # As it is in the database: `getValue` would give what it is changed to.
            old = [Column.calcValue(col, row) for col in keys.values()]
            return " AND ".join(f"{name} IS ?" for name in keys), old

        def change(sql: str, given: Sequence[Any]) -> None:
            if connection.execute(sql, given).rowcount != 1:
                raise sqlite3.OperationalError("a row that was changed here is no longer in the database; reload it")

        for row in adds.values():
            cells = {names[col.expr]: sql_value(col, row) for col in sheet.visibleCols if col.expr in names}
            places = ", ".join("?" * len(cells))
            change(f"INSERT INTO {table} ({', '.join(cells)}) VALUES ({places})", [*cells.values()])  # noqa: S608
        for row, changed in mods.values():
            cells = {names[col.expr]: sql_value(col, row) for col in changed if col.expr in names}
            if cells:
                condition, old = where(row)
                places = ", ".join(f"{name} = ?" for name in cells)
                change(f"UPDATE {table} SET {places} WHERE {condition}", [*cells.values(), *old])  # noqa: S608
        for row in dels.values():
            condition, old = where(row)
            change(f"DELETE FROM {table} WHERE {condition}", old)  # noqa: S608
    sheet.preloadHook()
    sheet.reload()


def put_index_changes(sheet: Any) -> None:
    adds, mods, dels = sheet.getDeferredChanges()
    if adds:
        vd.warning("a table is made by saving a sheet to this database")
    with _transaction(sheet) as connection:
        name = sheet.column("name")
        for row, changed in mods.values():
            if list(changed) != [name]:
                vd.fail("nothing was saved: of a table, only the name can be changed here")
            connection.execute(f"ALTER TABLE {quote(row.tableName)} RENAME TO {quote(str(changed[name]))}")
        for row in dels.values():
            connection.execute(f"DROP {'VIEW' if row.row[1] == 'view' else 'TABLE'} {quote(row.tableName)}")
    sheet.preloadHook()
    sheet.reload()


def save_sqlite(vd, p, *vsheets):  # type: ignore[no-untyped-def]
    """Adds a table for each sheet. Columns without a type get none, so that each cell keeps its own."""
    if threads := [thread for vs in vsheets if (thread := vs.ensureLoaded())]:
        vd.sync(*threads)  # Without arguments it would wait for all threads, such as another save that does the same.
    with contextlib.closing(sqlite3.connect(str(p))) as connection, connection:
        for vs in vsheets:
            table, cols = quote(vd.cleanName(vs.name)), vs.visibleCols
            names = [quote(name) for name in column_names(cols, "SQLite", str.casefold)]
            kinds = [_kind(vs, col) for col in cols]
            columns = ", ".join(f"{name} {kind}" for name, kind in zip(names, kinds, strict=True))
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
            insert = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
            for row in Progress(vs.rows, "saving"):
                connection.execute(insert, [sql_value(col, row) for col in cols])


def _kind(vs: Any, col: Any) -> str:
    """A column's type in SQLite, which converts cells to it: none where a whole number would lose digits."""
    kind = TYPES.get(col.type, "REAL" if vd.isNumeric(col) else "TEXT")
    largest = {"INTEGER": 2**63 - 1, "REAL": plain.MAX_EXACT}.get(kind)
    if largest:
        cells = (values.typed(col, row) for row in vs.rows)
        if any(type(cell) is int and abs(cell) > largest for cell in cells):
            return ""
    return kind
