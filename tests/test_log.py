"""What may never be in the log: a token that logs in."""

from __future__ import annotations

import io
import logging

import pytest

from app import log

TOKEN = "AbC-_9" * 7


@pytest.fixture
def written() -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(log.Format())
    logger = logging.Logger("uvicorn.access")
    logger.addHandler(handler)
    return logger, stream


@pytest.mark.parametrize(
    "path", [f"/login/link/{TOKEN}", f"/login/link/{TOKEN}?x=1", f"https://hub.example/login/link/{TOKEN}."]
)
def test_no_token_of_a_link_reaches_the_access_log(written: tuple[logging.Logger, io.StringIO], path: str) -> None:
    logger, stream = written
    logger.info('%s - "%s %s HTTP/%s" %d', "10.0.0.1:5", "GET", path, "1.1", 200)  # As uvicorn logs a request.
    assert TOKEN not in stream.getvalue()
    assert '"GET ' in stream.getvalue()
    assert "/login/link/(hidden)" in stream.getvalue()
    assert stream.getvalue().endswith('HTTP/1.1" 200\n')


def test_nor_by_a_traceback(written: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = written
    try:
        raise ValueError(f"cannot read /login/link/{TOKEN}")
    except ValueError:
        logger.exception("failed")
    assert "Traceback" in stream.getvalue()
    assert TOKEN not in stream.getvalue()
