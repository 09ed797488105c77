"""One's own files: uploaded by form or by the page's script, whole or not at all, and downloaded as they are."""

from __future__ import annotations

import dataclasses
import io
import os
from urllib.parse import quote

import pytest
from quart.datastructures import FileStorage
from serving import Browser, Site, serve

from app.files.homes import MAX_TRANSFERS
from app.settings import Settings
from app.web.files import LEFT

ODD_NAMES = ["Übersicht 2024.csv", "a'b;c\"d.csv", "日本🐧.csv", "100%.csv", "a#b?c&d=e.csv", "x" * 150 + ".csv"]


def home(site: Site) -> list[str]:
    """The names of all that lies in any home, uploads on their way included."""
    root = site.hub.settings.data_dir / "homes"
    return sorted(name for _, _, files in os.walk(root) for name in files)


def form(name: str, data: bytes) -> dict[str, FileStorage]:
    return {"file": FileStorage(io.BytesIO(data), filename=name)}


async def upload(browser: Browser, name: str, data: bytes = b"a,b\n1,2\n") -> None:
    answer = await browser.send("PUT", f"/files/upload/{quote(name, safe='')}", data=data)
    assert answer.status == 201, answer.text


async def test_who_has_no_files_is_told_what_to_do_first(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    assert "No files yet" in (await ada.get("/files")).text


async def test_a_file_bigger_than_what_is_held_in_memory_is_uploaded_by_a_plain_form(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    data = os.urandom(3 << 20)
    answer = await ada.post("/files", files=form("big.bin", data))
    assert (answer.status, answer.location) == (303, "/files")
    assert "“big.bin” is here (3.1 MB)." in (await ada.get("/files")).text
    assert (await ada.get("/files/get/big.bin")).body == data


async def test_a_file_is_uploaded_by_the_pages_script(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    data = os.urandom(3 << 20)
    answer = await ada.send("PUT", "/files/upload/big.bin", data=data)
    assert answer.status == 201
    assert answer.json == {"name": "big.bin", "path": "big.bin", "openable": False, "number": 1, "note": ""}
    assert (await ada.get("/files/get/big.bin")).body == data
    assert (await ada.send("PUT", "/files/upload/prices.csv", data=b"a\n")).json["openable"] is True


async def test_a_name_that_is_taken_gets_a_number_and_replaces_nothing(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    await upload(ada, "x.csv", b"first\n")
    await upload(ada, "x.csv", b"second\n")
    await ada.post("/files", files=form("x.csv", b"third\n"))
    assert home(site) == ["x-2.csv", "x-3.csv", "x.csv"]
    assert (await ada.get("/files/get/x.csv")).body == b"first\n"
    assert (await ada.get("/files/get/x-3.csv")).body == b"third\n"


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_a_file_of_an_odd_name_comes_back_under_it(site: Site, name: str) -> None:
    _, ada = await site.person("ada@example.org")
    await upload(ada, name)
    page = (await ada.get("/files")).text
    assert f'href="/files/get/{quote(name)}"' in page
    answer = await ada.get(f"/files/get/{quote(name, safe='')}")
    assert answer.body == b"a,b\n1,2\n"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    disposition = answer.headers["Content-Disposition"]
    assert disposition.startswith('attachment; filename="')
    assert disposition.endswith(f"filename*=UTF-8''{quote(name, safe='')}")
    assert disposition.isascii()
    assert disposition.count('"') == 2


@pytest.mark.parametrize(
    "given", ["../../evil.csv", "/etc/passwd", "C:\\Users\\ada\\x.csv", "a/b/c.csv", "..", ".", "nul\x01l.csv"]
)
async def test_a_name_that_a_browser_gives_never_leads_out_of_the_home(site: Site, given: str) -> None:
    account, ada = await site.person("ada@example.org")
    await ada.post("/files", files=form(given, b"x\n"))
    root = site.hub.settings.data_dir
    written = [path for path in root.rglob("*") if path.is_file() and path.read_bytes() == b"x\n"]
    assert len(written) <= 1
    assert all(path.parent == root / "homes" / str(account.id) for path in written)


async def test_a_form_without_a_file_is_told_so(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    answer = await ada.post("/files", files=form("", b""))
    assert answer.status == 422
    assert "Choose a file first." in answer.text


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"file=x"),
        ("multipart/form-data", b"--b\r\n"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"nonsense"),
        ("multipart/form-data; boundary*=utf-8''%E2%82%AC", b"x"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\ncut',
        ),
    ],
)
async def test_a_form_that_is_none_or_breaks_off_leaves_nothing(site: Site, kind: str, body: bytes) -> None:
    _, ada = await site.person("ada@example.org")
    answer = await ada.send("POST", "/files", data=body, headers={"Content-Type": kind})
    assert answer.status in (400, 422)
    assert home(site) == []


async def test_what_is_over_the_limit_is_refused_in_words_and_leaves_nothing(
    settings: Settings, database: object
) -> None:
    async with serve(dataclasses.replace(settings, max_upload=2 << 20)) as site:
        _, ada = await site.person("ada@example.org")
        for answer in (
            await ada.post("/files", files=form("big.bin", b"x" * ((2 << 20) + 1))),
            await ada.send("PUT", "/files/upload/big.bin", data=b"x" * ((2 << 20) + 1)),
            await ada.send("PUT", "/files/upload/big.bin", data=b"x", headers={"Content-Length": str((2 << 20) + 1)}),
        ):
            assert answer.status == 413
            assert "2.1 MB" in answer.text
        assert home(site) == []
        assert (await ada.post("/files", files=form("fits.bin", b"x" * (2 << 20)))).status == 303


async def test_an_upload_that_breaks_off_leaves_nothing(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    short = await ada.send("PUT", "/files/upload/x.csv", data=b"half", headers={"Content-Length": "8"})
    assert short.status == 422
    async with ada.client.request(
        "/files/upload/y.csv", method="PUT", headers={**ada.headers, "Content-Length": "8"}
    ) as connection:
        await connection.send(b"half")
        await connection.disconnect()
    assert home(site) == []


async def test_deleting_asks_first_and_then_deletes(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    name = ODD_NAMES[0]
    await upload(ada, name)
    path = f"/files/delete/{quote(name)}"
    assert "This cannot be undone" in (await ada.get(path)).text
    fragment = (await ada.get(path, htmx=True)).text
    assert "<html" not in fragment
    assert f'action="{path}"' in fragment
    assert home(site) == [name]
    answer = await ada.post(path, {})
    assert (answer.status, answer.location) == (303, "/files")
    assert "is deleted." in (await ada.get("/files")).text
    assert home(site) == []
    assert (await ada.post(path, {})).status == 404
    assert (await ada.get(path)).status == 404


async def test_folders_are_walked_into_and_deleted_whole(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    folder = site.hub.homes.ensure(str(account.id)) / "my data"
    folder.mkdir()
    (folder / "x.csv").write_text("a\n")
    assert 'href="/files?folder=my%20data"' in (await ada.get("/files")).text
    assert "x.csv" in (await ada.get("/files?folder=my%20data")).text
    answer = await ada.post("/files?folder=my%20data", files=form("y.csv", b"b\n"))
    assert answer.location == "/files?folder=my%20data"
    assert (folder / "y.csv").read_text() == "b\n"
    assert "folder and all that is in it" in (await ada.get("/files/delete/my%20data")).text
    await ada.post("/files/delete/my%20data", {})
    assert not folder.exists()
    assert (await ada.get("/files?folder=my%20data")).status == 404


async def test_other_peoples_files_are_not_there(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    _, eve = await site.person("eve@example.org")
    await upload(ada, "secret.csv")
    for path in ("secret.csv", f"../{account.id}/secret.csv", f"%2e%2e/{account.id}/secret.csv"):
        for answer in (
            await eve.get(f"/files/get/{path}"),
            await eve.get(f"/files/delete/{path}"),
            await eve.post(f"/files/delete/{path}", {}),
        ):
            assert answer.status in (404, 422)
            assert b"1,2" not in answer.body
    assert (await eve.get(f"/files?folder=../{account.id}")).status == 422
    assert "secret.csv" not in (await eve.get("/files")).text
    assert (await eve.post("/sessions", {"source": "file:secret.csv"})).status == 422
    assert home(site) == ["secret.csv"]


async def test_asking_only_for_the_headers_of_a_file_holds_nothing_open(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    await upload(ada, "x.csv")
    for _ in range(MAX_TRANSFERS + 1):
        answer = await ada.send("HEAD", "/files/get/x.csv")
        assert (answer.status, answer.headers["Content-Length"]) == (200, "8")
        async with ada.client.request("/files/get/x.csv", headers=ada.headers) as connection:
            await connection.disconnect()
    assert (await ada.get("/files/get/x.csv")).status == 200


async def test_a_terminals_page_leaves_things_for_visidata_and_what_is_newer_counts(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    where = site.hub.homes.ensure(str(account.id)) / ".cache" / "visidata-hub"
    assert (await ada.send("PUT", "/files/left/open", data=b"x.csv")).status == 404  # No VisiData has been there yet.
    where.mkdir(parents=True)
    for text in ("x.csv", "über/y.csv"):
        assert (await ada.send("PUT", "/files/left/open", data=text.encode())).status == 204
        assert (where / "open").read_text() == text
    assert (await ada.send("PUT", "/files/left/clipboard", data=b"a\tb\n")).status == 204
    assert (where / "clipboard").read_bytes() == b"a\tb\n"


async def test_what_a_terminals_page_leaves_is_bounded(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    where = site.hub.homes.ensure(str(account.id)) / ".cache" / "visidata-hub"
    where.mkdir(parents=True)
    for what, most in LEFT.items():
        headers = {"Content-Length": str(most + 1)}
        answer = await ada.send("PUT", f"/files/left/{what}", data=b"x", headers=headers)
        assert (answer.status, "too large" in answer.text) == (413, True)
    assert (await ada.send("PUT", "/files/left/open", data=b"x" * (LEFT["open"] + 1))).status == 413
    assert home(site) == []


@pytest.mark.parametrize("what", ["other", "..", ".%2e%2fx", "open%2f..%2f..%2fx"])
async def test_nothing_else_is_left_anywhere(site: Site, what: str) -> None:
    account, ada = await site.person("ada@example.org")
    (site.hub.homes.ensure(str(account.id)) / ".cache" / "visidata-hub").mkdir(parents=True)
    assert (await ada.send("PUT", f"/files/left/{what}", data=b"x")).status in (404, 405)
    assert home(site) == []
