"""The file that operators copy says of every setting what it does and what it is by default, and nothing else."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from app.settings import PROJECT, Settings

OPTION = re.compile(r"^# (?P<help>.+)\n# HUB_(?P<name>[A-Z0-9_]+)=(?P<value>.*)$", re.MULTILINE)
SAMPLE = (PROJECT / ".env.sample").read_text()


def test_every_setting_is_there_once_with_its_help() -> None:
    told = [(found["name"].lower(), found["help"]) for found in OPTION.finditer(SAMPLE)]
    assert sorted(told) == sorted((option.name, option.metadata["help"]) for option in fields(Settings))
    assert SAMPLE.count("HUB_BIND=") == 1


def test_a_copy_with_every_line_taken_in_is_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    copy = tmp_path / "env"
    copy.write_text(re.sub(r"^# (HUB_[A-Z0-9_]+=)", r"\1", SAMPLE, flags=re.MULTILINE))
    assert Settings.from_env(environ={}, env_file=copy) == Settings()


def test_as_it_is_it_changes_nothing() -> None:
    assert Settings.from_env(environ={}, env_file=PROJECT / ".env.sample") == Settings()
