"""`make bench` on a machine that lacks a part says so and measures the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def bench(*names: str) -> subprocess.CompletedProcess[str]:
    """On a machine without any of the programs that benchmarks may need."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *names],
        cwd=PROJECT,
        env={"PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_browser_what_needs_one_is_left_out_and_named() -> None:
    done = bench("leave", "soak")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("left out") == 2
    assert "It needs chromium" in done.stdout


def test_an_unknown_benchmark_is_named_with_those_that_there_are() -> None:
    done = bench("relais")
    assert done.returncode == 2
    assert "relais" in done.stderr
    assert "relay" in done.stderr
