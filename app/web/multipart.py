"""The files of a multipart/form-data request, streamed. For plain upload forms, where there is no script.

Quart's own form parser collects whole files before a view sees them. Knows nothing of the Hub.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from quart import Request
from werkzeug.exceptions import BadRequest
from werkzeug.sansio.multipart import Data, Epilogue, Event, File, MultipartDecoder, NeedData

HEADERS = 64 * 1024  # Bytes that other fields of the form may have in all.
PIECE = HEADERS // 2  # Bytes given to the decoder at a time: it takes all that it cannot hand on yet for such fields.


async def stream_files(request: Request) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
    """The name of each file as the person has it, and its bytes, which are to be read before the next file.

    A form in which no file was chosen has none.

    Raises werkzeug's BadRequest for a body that is no such form or is cut short.
    """
    boundary = request.mimetype_params.get("boundary", "")
    if request.mimetype != "multipart/form-data" or not boundary or not boundary.isascii():
        raise BadRequest
    events = _events(request, MultipartDecoder(boundary.encode(), max_form_memory_size=HEADERS))
    async for event in events:
        if isinstance(event, File):
            chunks = _file(events)
            if event.filename:
                yield _unescaped(event.filename), chunks
            async for _rest in chunks:
                pass


async def _events(request: Request, decoder: MultipartDecoder) -> AsyncIterator[Event]:
    try:
        async for chunk in request.body:
            for start in range(0, len(chunk), PIECE):
                decoder.receive_data(chunk[start : start + PIECE])
                while not isinstance(event := decoder.next_event(), NeedData):
                    yield event
        decoder.receive_data(None)
        while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
            yield event
    except ValueError as error:
        raise BadRequest from error


async def _file(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    async for event in events:
        if not isinstance(event, Data):
            raise BadRequest
        if event.data:
            yield event.data
        if not event.more_data:
            return
    raise BadRequest


def _unescaped(name: str) -> str:
    """Undo what browsers do to these three characters in a form (WHATWG HTML, multipart/form-data), and to no other."""
    return name.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
