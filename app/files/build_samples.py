"""Builds the sample files: `python build_samples.py DEST`, with the Python that has VisiData's loaders and the data.

Real, openly licensed data comes out of three packages (bokeh_sampledata, vega_datasets, palmerpenguins). What is
there as csv is copied; the workbook, the Parquet file, the database and the nested JSON are made from the same
packages' data. What each file holds, and its licence, stands in `samples.py`; a change here is a new version of the
samples. It stands alone: it must import nothing of the Hub, because it runs in the session's environment and while
the session image is built. It opens no connection.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import json
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def _package(name: str) -> Path:
    """The folder of an installed package. It is not imported: some of them take a second to load."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the package {name} is not installed")
    return Path(spec.submodule_search_locations[0])


def _bokeh(name: str) -> Path:
    return _package("bokeh_sampledata") / "_data" / name


def _unpack(source: Path, target: Path) -> None:
    with gzip.open(source) as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file)


def _penguins(target: Path) -> None:
    shutil.copyfile(_package("palmerpenguins") / "data" / "penguins.csv", target)


def _weather(target: Path) -> None:
    shutil.copyfile(_package("vega_datasets") / "_data" / "seattle-weather.csv", target)


def _unemployment(target: Path) -> None:
    shutil.copyfile(_bokeh("unemployment1948.csv"), target)


def _cities(target: Path) -> None:
    _unpack(_bokeh("world_cities.csv.gz"), target)


def _gapminder(target: Path) -> None:
    _unpack(_bokeh("gapminder.csv.gz"), target)


def _olympics(target: Path) -> None:
    """The rows alone: the envelope around them (a count and a list) says nothing that VisiData does not show."""
    rows = json.loads(_bokeh("olympics2014.json").read_text())["data"]
    target.write_text(json.dumps(rows, indent=1))


def _movies(target: Path) -> None:
    """The tables get names that say what they hold, and the columns that have no value in any row are dropped."""
    shutil.copyfile(_bokeh("movies.db"), target)
    database = sqlite3.connect(target, isolation_level=None)
    for old, new in (("omdb", "films"), ("tomatoes", "reviews")):
        database.execute(f"ALTER TABLE {old} RENAME TO {new}")
        for column in [row[1] for row in database.execute(f"PRAGMA table_info({new})")]:
            if database.execute(f'SELECT count("{column}") FROM {new}').fetchone() == (0,):  # noqa: S608  (our names)
                database.execute(f'ALTER TABLE {new} DROP COLUMN "{column}"')
    database.execute("VACUUM")
    database.close()


def _flights(target: Path) -> None:
    """Two sheets that join on IATA codes. Numbers are stored as numbers, and columns without a value are dropped."""
    import openpyxl  # type: ignore[import-untyped]  # Only the session's Python has it.

    book = openpyxl.Workbook(write_only=True)
    with _bokeh("airports.csv").open(newline="") as file:
        _add_sheet(book.create_sheet("airports"), csv.DictReader(file))
    with gzip.open(_bokeh("routes.csv.gz"), "rt", newline="") as file:
        _add_sheet(book.create_sheet("routes"), csv.DictReader(file))
    book.save(target)


def _add_sheet(sheet: Any, reader: csv.DictReader[str]) -> None:
    rows = list(reader)
    columns = [column for column in reader.fieldnames or () if any(row[column] for row in rows)]
    sheet.append(columns)
    for row in rows:
        sheet.append([_number(row[column]) for column in columns])


def _number(text: str) -> int | float | str | None:
    for cast in (int, float):
        try:
            return cast(text)
        except ValueError:
            continue
    return text or None


def _population(target: Path) -> None:
    import pyarrow.csv  # type: ignore[import-not-found]  # Only the session's Python has it.
    import pyarrow.parquet  # type: ignore[import-not-found]

    table = pyarrow.csv.read_csv(io.BytesIO(gzip.decompress(_bokeh("population.csv.gz").read_bytes())))
    pyarrow.parquet.write_table(table, target, compression="zstd")


BUILDERS: dict[str, Callable[[Path], None]] = {
    "penguins.csv": _penguins,
    "gapminder.csv": _gapminder,
    "seattle-weather.csv": _weather,
    "unemployment.csv": _unemployment,
    "world-cities.csv": _cities,
    "olympics.json": _olympics,
    "movies.sqlite": _movies,
    "flights.xlsx": _flights,
    "population.parquet": _population,
}


def build(destination: Path) -> Iterator[Path]:
    """Make the files one by one in a folder (made when it is not there), read-only for everybody."""
    destination.mkdir(parents=True, exist_ok=True)
    for name, builder in BUILDERS.items():
        target = destination / name
        target.unlink(missing_ok=True)
        builder(target)
        target.chmod(0o444)
        yield target


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python build_samples.py DEST")
    for path in build(Path(sys.argv[1])):
        print(path)  # noqa: T201  (a command line prints)
