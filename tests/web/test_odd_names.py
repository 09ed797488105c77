"""Every name that Linux takes goes in and comes out as it is, on the pages and by the API, and never for another's file."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from quart.datastructures import FileStorage
from serving import Browser, Site

from app.files.names import openable, visible

NAMES: list[str] = json.loads((Path(__file__).parents[1] / "files" / "odd_names.json").read_text())


def in_address(path: str) -> str:
    return "/".join(quote(name, safe="") for name in path.split("/"))


def links(page: str, kind: str) -> list[str]:
    """The paths that the page's links of this kind lead to, as a browser follows them."""
    found = re.findall(rf'href="(/files/{kind}/[^"]*)"', page)
    return [unquote(html.unescape(one).removeprefix(f"/files/{kind}/")) for one in found]


def sources(page: str) -> list[str]:
    """What the page's forms send to open a file, as a browser sends it: with the line ends of a form."""
    found = [html.unescape(one) for one in re.findall(r'name="source" value="([^"]*)"', page)]
    return [re.sub(r"\r\n|\r|\n", "\r\n", one) for one in found]


def content(name: str) -> bytes:
    return f"the one named {name!a}".encode()


async def check_all_there(site: Site, ada: Browser, program: Browser, names: list[str]) -> None:
    page = (await ada.get("/files?hidden=1")).text
    assert sorted(set(links(page, "get"))) == sorted(links(page, "delete")) == sorted(names)
    for name in names:
        assert f'<bdi class="name">{html.escape(visible(name), quote=False)}' in page.replace("&#34;", '"').replace(
            "&#39;", "'"
        )
        assert (await ada.get(f"/files/get/{in_address(name)}")).body == content(name)
        assert (await program.get(f"/api/v1/files/{in_address(name)}")).body == content(name)
    listed = (await program.get("/api/v1/files/?hidden=1")).json
    assert sorted(entry["name"] for entry in listed) == sorted(names)


async def test_names_that_are_uploaded_by_the_page_are_listed_opened_downloaded_and_deleted(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    program = await site.program(account)
    for name in NAMES:
        answer = await ada.send("PUT", f"/files/upload/{in_address(name)}", data=content(name))
        assert (answer.status, answer.json["name"], answer.json["path"]) == (201, name, name)
    await check_all_there(site, ada, program, NAMES)
    page = (await ada.get("/files?hidden=1")).text
    assert len(sources(page)) == sum(openable(name) for name in NAMES)
    for source in sources(page):
        assert (await ada.post("/sessions", {"source": source, "open": "1"})).status == 303
        (session, *_) = await site.hub.sessions.list(account.id)
        assert session.source.value == unquote(source.removeprefix("path:"))
        await site.hub.sessions.delete(account.id, session.id)
    for name in NAMES:
        question = await ada.get(f"/files/delete/{in_address(name)}", htmx=True)
        assert visible(name) in html.unescape(question.text)
        (action,) = re.findall(r'action="([^"]*)"', question.text)
        assert (await ada.post(html.unescape(action), {})).status == 303
        assert (await ada.get(f"/files/get/{in_address(name)}")).status == 404
    assert not list(await site.hub.homes.list(str(account.id), hidden=True))


async def test_names_that_are_stored_by_the_api_are_the_same_names(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    program = await site.program(account)
    for name in NAMES:
        answer = await program.send("PUT", f"/api/v1/files/{in_address(name)}", data=content(name))
        assert (answer.status, answer.json["name"]) == (201, name)
        source = {"source": {"file": name}}
        made = await program.send("POST", "/api/v1/sessions", json=source)
        assert (made.status, made.json["source"]) == (201, {"file": name})
        assert (await program.send("DELETE", f"/api/v1/sessions/{made.json['id']}")).status == 204
    await check_all_there(site, ada, program, NAMES)
    for name in NAMES:
        assert (await program.send("DELETE", f"/api/v1/files/{in_address(name)}")).status == 204
    assert (await program.get("/api/v1/files/?hidden=1")).json == []


@pytest.mark.parametrize("script", [True, False])
async def test_a_set_is_uploaded_twice_and_stays_a_set(site: Site, script: bool) -> None:
    account, ada = await site.person("ada@example.org")
    names = ["x.sqlite-wal", "note.txt", "x.sqlite-shm", "x.sqlite"]
    for count in (b"1", b"2"):
        if script:
            sets = (await ada.send("POST", "/files/sets", json={"names": names})).json["sets"]
            assert sets == [[3, 2, 0], [1]]
            for members in sets:
                number = None
                for name in (names[index] for index in members):
                    asked = "&".join(f"set={quote(names[index])}" for index in members)
                    asked += f"&number={number}" if number else ""
                    answer = await ada.send("PUT", f"/files/upload/{name}?{asked}", data=count)
                    assert answer.status == 201, answer.text
                    number = answer.json["number"]
        else:
            form = b"".join(
                b'--b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\n%b\r\n'
                % (name.encode(), count)
                for name in names
            )
            kind = {"Content-Type": "multipart/form-data; boundary=b"}
            assert (await ada.send("POST", "/files", data=form + b"--b--\r\n", headers=kind)).status == 303
    home = site.hub.homes.ensure(str(account.id))
    assert {path.name: path.read_bytes() for path in home.iterdir()} == {
        **dict.fromkeys(names, b"1"),
        **dict.fromkeys(["x-2.sqlite-wal", "note-2.txt", "x-2.sqlite-shm", "x-2.sqlite"], b"2"),
    }


async def test_a_log_that_is_uploaded_alone_is_told_what_became_of_it(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    (site.hub.homes.ensure(str(account.id)) / "x.sqlite").touch()
    answer = await ada.send("PUT", "/files/upload/x.sqlite-wal", data=b"x")
    assert answer.json["name"] == "x-2.sqlite-wal"
    assert "does not change “x.sqlite”" in answer.json["note"]
    await ada.post("/files", files={"file": FileStorage(filename="x.sqlite-wal")})
    assert "stored as “x-3.sqlite-wal”" in (await ada.get("/files")).text


@pytest.mark.parametrize(
    "asked", ["set=a.csv&set=b.csv", "number=0", "number=x", "number=" + "9" * 5000, "set=a.csv&" * 50 + "set=a.csv"]
)
async def test_nonsense_about_sets_is_refused(site: Site, asked: str) -> None:
    _, ada = await site.person("ada@example.org")
    assert (await ada.send("PUT", f"/files/upload/a.csv?{asked}", data=b"x")).status == 422
    for body in ([], {"names": "x"}, {"names": [1]}, {"names": ["x"] * 1001}):
        assert (await ada.send("POST", "/files/sets", json=body)).status == 422


async def test_hidden_files_can_be_shown_so_that_a_broken_configuration_can_be_deleted(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    home = site.hub.homes.ensure(str(account.id))
    (home / ".visidatarc").write_text("1/0")
    page = (await ada.get("/files")).text
    assert "/files/get/.visidatarc" not in page
    assert "1 hidden entry is left out" in page
    assert 'href="/files?hidden=1">Show hidden files' in page
    assert 'href="/files/delete/.visidatarc"' in (await ada.get("/files?hidden=1")).text
    answer = await ada.post("/files/delete/.visidatarc", {})
    assert answer.location == "/files?hidden=1"
    assert not (home / ".visidatarc").exists()


async def test_of_two_names_that_look_the_same_the_page_says_which_is_which(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    home = site.hub.homes.ensure(str(account.id))
    for name in ("\u00fc.csv", "u\u0308.csv"):
        (home / name).write_bytes(content(name))
    page = (await ada.get("/files")).text
    assert "composed</small>" in page
    assert "decomposed</small>" in page
    for name in links(page, "get"):
        assert (await ada.get(f"/files/get/{in_address(name)}")).body == content(name)


async def test_a_folder_that_is_too_long_to_list_says_so(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    home = site.hub.homes.ensure(str(account.id))
    for number in range(1001):
        (home / f"{number}.csv").touch()
    page = (await ada.get("/files")).text
    assert "This folder has more entries than are shown" in page
    program = await site.program(account)
    answer = await program.get("/api/v1/files/")
    assert (len(answer.json), answer.headers["Hub-Cut"]) == (1000, "true")
