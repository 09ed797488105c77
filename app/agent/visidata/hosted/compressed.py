"""Reads Zstandard files to their end, frame by frame, and lets loaders go back in them, as .vds sheets need."""

from __future__ import annotations

import io
from typing import Any

from visidata import Path, vd  # type: ignore[import-not-found]  # It is in the sessions' Python alone.

_open = Path._open


def install() -> None:
    Path._open = open_file


def open_file(self, *args, **kwargs):  # type: ignore[no-untyped-def]
    mode = kwargs.get("mode", args[0] if args else "r")
    if self.compression not in ("zst", "zstd") or self.has_fp() or "r" not in mode:
        return _open(self, *args, **kwargs)
    raw = io.BufferedReader(_ZstdFile(self), 1 << 17)
    if "b" in mode:
        return raw
    return io.TextIOWrapper(raw, **{name: value for name, value in kwargs.items() if name != "mode"})


class _ZstdFile(io.RawIOBase):
    """The decompressed bytes. Going back means to start again, as gzip does it."""

    def __init__(self, path: Any) -> None:
        self._path = path
        self._start()

    def _start(self) -> None:
        # VisiData's own wrapper counts what is read of the compressed file, for the percentage on the screen.
        from visidata.path import FileProgress  # type: ignore[import-not-found]

        file = FileProgress(self._path, fp=open(self._path, "rb"), mode="rb")  # noqa: PTH123, SIM115
        zstandard = vd.importExternal("zstandard")
        self._file, self._position = file, 0
        self._stream = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True, closefd=False)

    def readinto(self, buffer: Any) -> int:
        count: int = self._stream.readinto(buffer)
        self._position += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            while self.read(1 << 20):
                pass
            offset += self._position
        if offset < self._position:
            self._file.close()
            self._start()
        while self._position < offset and self.read(min(1 << 20, offset - self._position)):
            pass
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
