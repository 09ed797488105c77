"""The samples: built from the real packages, and opened with the real VisiData."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.errors import BadInput, SettingsError
from app.files.names import openable
from app.files.samples import BUILD_SCRIPT, CATALOGUE, Sample, ensure_samples, get
from app.settings import Settings

SESSION_PYTHON = Settings().session_python
VISIDATA = SESSION_PYTHON.with_name("vd")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def folder(data_dir: Path) -> Path:
    return ensure_samples(data_dir, SESSION_PYTHON)


def seen(sample: Path, work: Path, *steps: dict[str, object]) -> list[dict[str, str]]:
    """What VisiData has on screen after it opened the file and took the steps: the rows, by column."""
    log = [{"longname": "open-file", "input": str(sample)}, *steps]
    (work / "log.vdj").write_text("#!vd -p\n" + "\n".join(map(json.dumps, log)))
    subprocess.run(
        [VISIDATA, "-N", "--batch", "--play", "log.vdj", "--output", "out.csv"],
        cwd=work,
        env={"HOME": str(work), "LANG": "C.UTF-8", "TERM": "xterm-256color"},
        check=True,
        capture_output=True,
        timeout=60,
    )
    with (work / "out.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("sample", CATALOGUE, ids=lambda sample: sample.name)
def test_visidata_opens_each_sample_as_the_catalogue_says(sample: Sample, folder: Path, tmp_path: Path) -> None:
    file = folder / sample.name
    for number, table in enumerate(sample.tables):
        steps: list[dict[str, object]] = []
        if table.name:
            steps = [{"longname": "open-row", "sheet": file.stem, "col": "", "row": number}]
        columns = seen(file, tmp_path, *steps, {"longname": "columns-sheet"})
        visible = [column["name"] for column in columns if column["width"] != "0"]
        assert tuple(visible) == table.columns
        sheets = seen(file, tmp_path, *steps, {"longname": "sheets-stack"})
        assert int(sheets[1]["nRows"]) == table.rows  # The first is the list of sheets itself.


@pytest.mark.parametrize(
    "sample", [sample for sample in CATALOGUE if len(sample.tables) > 1], ids=lambda sample: sample.name
)
def test_a_sample_with_tables_lists_them(sample: Sample, folder: Path, tmp_path: Path) -> None:
    listed = [next(iter(row.values())) for row in seen(folder / sample.name, tmp_path)]
    assert listed == [table.name for table in sample.tables]


def test_text_from_everywhere_arrives_whole(folder: Path, tmp_path: Path) -> None:
    """Accents and quotes survive the way through unpacking and conversion."""
    airports = {"longname": "open-row", "sheet": "flights", "col": "", "row": 0}
    assert "Utqiaġvik" in {row["City"] for row in seen(folder / "flights.xlsx", tmp_path, airports)}


def test_the_folder_holds_the_catalogue_read_only_and_nothing_else(folder: Path, data_dir: Path) -> None:
    files = {path.name: path for path in folder.iterdir() if not path.name.startswith(".")}
    assert set(files) == {sample.name for sample in CATALOGUE}
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o444}
    assert sorted(path.name for path in data_dir.iterdir()) == [".samples-lock", "samples"]


def test_each_sample_says_what_it_is_and_under_which_open_licence() -> None:
    openly = ("CC0 ", "CC BY ", "Public domain", "BSD ", "MIT")
    for sample in CATALOGUE:
        assert sample.licence.startswith(openly)
        assert sample.title
        assert sample.source.endswith(".")
        for text in (sample.description, sample.hint):
            assert text.endswith((".", "?"))
            assert "\n" not in text
            assert len(text) <= 140
        assert openable(sample.name)
    assert {"csv", "json", "xlsx", "sqlite", "parquet"} == {sample.format for sample in CATALOGUE}


def test_a_sample_says_its_size_in_words() -> None:
    assert get("penguins.csv").size == "344 rows, 8 columns"
    assert get("movies.sqlite").size == "films (17,472 rows), reviews (17,472 rows)"
    assert get("movies.sqlite").rows == 34_944


@pytest.mark.parametrize(("name", "words"), [("penguin.csv", "Did you mean penguins.csv?"), ("zzz", "There are ")])
def test_a_misspelt_sample_is_answered_with_the_nearest(name: str, words: str) -> None:
    with pytest.raises(BadInput) as refused:
        get(name)
    assert words in refused.value.message


def test_the_second_time_needs_no_session_python(folder: Path, data_dir: Path) -> None:
    assert ensure_samples(data_dir, Path("/nonexistent/python")) == folder


def test_a_missing_session_python_is_said_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"HUB_SESSION_PYTHON.*make"):
        ensure_samples(tmp_path, tmp_path / "python")
    assert not (tmp_path / "samples").exists()


def test_a_python_without_the_data_is_said_and_leaves_no_half(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"palmerpenguins.*make"):
        ensure_samples(tmp_path, Path(sys.executable))  # The Hub's own Python: it has no data sets.
    assert [path.name for path in tmp_path.iterdir()] == [".samples-lock"]


def test_what_is_old_or_lost_is_made_anew_in_the_same_folder_and_open_files_stay(tmp_path: Path) -> None:
    folder = ensure_samples(tmp_path, SESSION_PYTHON)
    before = folder.stat().st_ino
    with (folder / "penguins.csv").open() as held:
        (folder / "gone-from-the-catalogue.csv").write_text("x")
        (folder / "movies.sqlite").unlink()
        (tmp_path / ".samples-building").mkdir()
        (tmp_path / ".samples-building" / "half").write_text("x")
        assert ensure_samples(tmp_path, SESSION_PYTHON) == folder
        assert held.readline().startswith("species,island")
    assert folder.stat().st_ino == before
    assert {path.name for path in folder.iterdir()} == {".version"} | {sample.name for sample in CATALOGUE}
    assert sorted(path.name for path in tmp_path.iterdir()) == [".samples-lock", "samples"]


def test_hubs_that_start_at_once_build_one_set(tmp_path: Path) -> None:
    """The Python is a script here that counts how often it is started, and then is the real one."""
    counting = tmp_path / "python"
    counting.write_text(f'#!/bin/sh\necho started >>"{tmp_path}/count"\nexec "{SESSION_PYTHON}" "$@"\n')
    counting.chmod(0o755)
    program = "import sys; from pathlib import Path; from app.files.samples import ensure_samples\n"
    program += "print(ensure_samples(Path(sys.argv[1]), Path(sys.argv[2])))"

    def start(_: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", program, tmp_path / "data", counting],
            cwd=BUILD_SCRIPT.parents[2],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(start, range(3))) == {str(tmp_path / "data" / "samples")}
    assert (tmp_path / "count").read_text() == "started\n"


def test_an_image_is_given_its_samples_by_the_script_alone(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "build_samples.py"
    script.write_bytes(BUILD_SCRIPT.read_bytes())  # Copied, as into an image: nothing of the Hub is beside it.
    subprocess.run([SESSION_PYTHON, script, tmp_path / "out"], cwd=tmp_path, env={"PATH": os.defpath}, check=True)
    for name in ("penguins.csv", "world-cities.csv", "olympics.json"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {sample.name for sample in CATALOGUE}
