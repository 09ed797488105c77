"""The samples: real, openly licensed data sets that every session can open, and that nobody can change.

The catalogue says what each one holds, where it is from and under which licence; `build_samples.py` makes the files.
Must not import what reads data (pandas, pyarrow): that lives in the session's Python, which this module only starts.
"""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from app.errors import BadInput, SettingsError

BUILD_SCRIPT = Path(__file__).with_name("build_samples.py")

_MARKER = ".version"


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a sample. `name` is empty where the file holds nothing but this table."""

    name: str
    rows: int
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One file of the samples folder. `description` says what is in it; `hint` says what is good to try first.

    `source` names those who are to be credited, and says what was changed on the way.
    """

    name: str
    title: str
    description: str
    hint: str
    licence: str
    source: str
    tables: tuple[Table, ...]

    @property
    def format(self) -> str:
        """The file type by its ending, in lower case and without the dot: `csv`, `parquet`."""
        return self.name.rpartition(".")[2]

    @property
    def rows(self) -> int:
        """The rows of all its tables."""
        return sum(table.rows for table in self.tables)

    @property
    def size(self) -> str:
        """How much it is, in words: `344 rows, 8 columns`, or each table with its rows."""
        if len(self.tables) == 1:
            return f"{self.rows:,} rows, {len(self.tables[0].columns)} columns"
        return ", ".join(f"{table.name} ({table.rows:,} rows)" for table in self.tables)


def _columns(names: str) -> tuple[str, ...]:
    return tuple(names.split())


CATALOGUE: tuple[Sample, ...] = (
    Sample(
        name="penguins.csv",
        title="Palmer penguins",
        description="Bills, flippers and weights of penguins of three species, measured on three islands.",
        hint="Press Shift+F on species to count them, then Shift+I for a summary of every column.",
        licence="CC0 1.0",
        source="K. Gorman and Palmer Station Antarctica LTER; palmerpenguins by A. Horst, A. Hill and K. Gorman.",
        tables=(
            Table(
                "",
                344,
                _columns("species island bill_length_mm bill_depth_mm flipper_length_mm body_mass_g sex year"),
            ),
        ),
    ),
    Sample(
        name="gapminder.csv",
        title="Life and births by country",
        description="Children per woman, life expectancy and population of each country, year by year from 1964.",
        hint='Select a country with | and open its rows with "; make year a number (#) and a key (!), fertility a '
        "number (%), and draw it with . (a dot).",
        licence="CC BY 2.0",
        source="Gapminder (gapminder.org/data) and the indicator providers it names; by way of bokeh_sampledata.",
        tables=(Table("", 12_200, _columns("country year fertility life_expectancy population")),),
    ),
    Sample(
        name="seattle-weather.csv",
        title="Seattle weather",
        description="Rain, warmest and coldest hour, wind and the sort of weather on every day from 2012 to 2015.",
        hint="Make date a date with @, then press Shift+F on weather: how often does it really rain?",
        licence="Public domain",
        source="U.S. National Oceanic and Atmospheric Administration; by way of vega_datasets.",
        tables=(Table("", 1_461, _columns("date precipitation temp_max temp_min wind weather")),),
    ),
    Sample(
        name="unemployment.csv",
        title="Unemployment since 1948",
        description="The monthly unemployment rate of the United States: one row a year, one column a month.",
        hint="Make Year a key with !, then Shift+M melts the months into rows.",
        licence="Public domain",
        source="U.S. Bureau of Labor Statistics; by way of bokeh_sampledata.",
        tables=(Table("", 69, _columns("Year Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec Annual")),),
    ),
    Sample(
        name="world-cities.csv",
        title="Cities of the world",
        description="Names and positions of the places with more than 5,000 people.",
        hint="Make lat and lng numbers with %, make lng a key with !, and press . (a dot) on lat: a map of the world.",
        licence="CC BY 3.0",
        source="GeoNames (geonames.org), an extract; by way of bokeh_sampledata.",
        tables=(Table("", 45_065, _columns("name lat lng")),),
    ),
    Sample(
        name="olympics.json",
        title="Winter Olympics 2014",
        description="Medals of each country at Sochi, as nested JSON.",
        hint="Press ( on medals to spread it into columns, then ] on total for the ranking.",
        licence="BSD 3-Clause",
        source="Bryan Van de Ven and the Bokeh contributors (bokeh_sampledata); the rows, without their envelope.",
        tables=(Table("", 87, _columns("name abbr medals")),),
    ),
    Sample(
        name="movies.sqlite",
        title="Films and their reviews",
        description="A database of films from 1940 to 2014: who made them and who plays, and how critics took them.",
        hint="Make ID a key with ! in each table; then select both on the list of tables (gs) and join them with &.",
        licence="CC0 1.0",
        source="Wikidata contributors, by way of bokeh_sampledata; tables renamed, columns without a value left out.",
        tables=(
            Table(
                "films",
                17_472,
                _columns(
                    "ID imdbID Title Year Rating Runtime Genre Released Director Writer Cast Metacritic Language "
                    "Country Awards lastUpdated Oscars"
                ),
            ),
            Table(
                "reviews",
                17_472,
                _columns("ID Rating Meter Reviews Fresh Rotten BoxOffice Production lastUpdated"),
            ),
        ),
    ),
    Sample(
        name="flights.xlsx",
        title="Airports and routes",
        description="A workbook of two sheets: airports of the United States, and who flew between them in July 2026.",
        hint="Open routes and press Shift+F on Airline; Enter on a row shows the routes behind its count.",
        licence="Public domain",
        source="OurAirports contributors (airports); U.S. Bureau of Transportation Statistics (routes); by way of "
        "bokeh_sampledata, columns without a value left out.",
        tables=(
            Table(
                "airports",
                514,
                _columns("AirportID Name City Country IATA ICAO Latitude Longitude Altitude Type source"),
            ),
            Table("routes", 9_161, _columns("Airline AirlineID Source SourceID Destination DestinationID Stops")),
        ),
    ),
    Sample(
        name="population.parquet",
        title="World population, 1950 to 2100",
        description="People by country, year, sex and age group, with the United Nations' projection: a large file.",
        hint='Press | on Location and type World to select, then " to have those rows on a sheet of their own.',
        licence="CC BY 3.0 IGO",
        source="United Nations, Population Division (2024), World Population Prospects 2024; an extract in persons, by "
        "way of bokeh_sampledata.",
        tables=(Table("", 346_332, _columns("LocID Location Year Sex AgeGrp AgeGrpStart Value")),),
    ),
)

_BY_NAME = {sample.name: sample for sample in CATALOGUE}


def get(name: str) -> Sample:
    """The sample of that name. Raises BadInput, which names the nearest one, where there is none."""
    sample = _BY_NAME.get(name)
    if sample is None:
        near = difflib.get_close_matches(name, _BY_NAME, n=1, cutoff=0.4)
        advice = f"Did you mean {near[0]}?" if near else f"There are {', '.join(_BY_NAME)}."
        raise BadInput(f"There is no sample “{name}”. {advice}", field="sample")
    return sample


def ensure_samples(data_dir: Path, session_python: Path) -> Path:
    """The folder of the samples, made on first use and again when the build script has changed.

    Blocks: about two seconds when it builds, a millisecond after that. Files are replaced one by one in the same
    folder, so that a session which has the folder mounted, or a file open, is not disturbed. Several processes may
    call this at once: one builds, the others wait. Raises SettingsError when `session_python` cannot build them.
    """
    folder = data_dir / "samples"
    version = hashlib.sha256(BUILD_SCRIPT.read_bytes()).hexdigest()
    if _is_current(folder, version):
        return folder
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / ".samples-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_current(folder, version):
            _rebuild(folder, data_dir / ".samples-building", session_python, version)
    return folder


def _is_current(folder: Path, version: str) -> bool:
    try:
        return (folder / _MARKER).read_text() == version and all((folder / name).is_file() for name in _BY_NAME)
    except FileNotFoundError:
        return False


def _rebuild(folder: Path, workshop: Path, session_python: Path, version: str) -> None:
    """Build in the workshop, then move into the folder; the marker comes last. The caller holds the lock."""
    shutil.rmtree(workshop, ignore_errors=True)  # Left over where a build was killed.
    try:
        _run_script(session_python, workshop)
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            if old.name not in _BY_NAME:  # The marker is among them: a move that breaks off is done again.
                old.unlink()
        for new in workshop.iterdir():
            new.replace(folder / new.name)
        (folder / _MARKER).write_text(version)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _run_script(session_python: Path, destination: Path) -> None:
    if not session_python.is_file():
        raise SettingsError(
            f"HUB_SESSION_PYTHON: there is no Python at {session_python}. Run `make`, which creates it."
        )
    try:
        subprocess.run(
            [str(session_python), "-I", str(BUILD_SCRIPT), str(destination)], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        output = getattr(error, "stderr", None) or str(error)
        raise SettingsError(
            f"HUB_SESSION_PYTHON: {session_python} could not build the samples ({output.strip().splitlines()[-1]}). "
            "Run `make` to set it up anew."
        ) from error
