"""The JSON API: for programs, by the same rules as the pages."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import datetime

import pytest
from serving import Answer, Browser, Site, serve

from app.settings import Settings

KEYS = {
    "id",
    "name",
    "state",
    "reason",
    "created_at",
    "started_at",
    "last_input_at",
    "stops_at",
    "url",
    "tty_url",
}
"""What programs may count on in a session; there may be more."""


@pytest.fixture
async def program(site: Site) -> Browser:
    return await site.program(await site.hub.accounts.add("ada@example.org"))


def is_problem(answer: Answer, status: int) -> bool:
    return (
        answer.status == answer.json["status"] == status
        and answer.headers["Content-Type"] == "application/problem+json"
        and {"type", "title", "detail"} <= answer.json.keys()
    )


async def test_a_session_is_made_waited_for_renamed_stopped_started_and_deleted(program: Browser) -> None:
    assert (await program.get("/api/v1/sessions")).json == []
    made = await program.send("POST", "/api/v1/sessions", json={"source": {"sample": "penguins.csv"}})
    assert made.status == 201
    session = made.json
    assert session.keys() >= KEYS
    assert session["name"] == "penguins.csv"
    assert session["source"] == {"sample": "penguins.csv"}
    assert session["state"] in ("starting", "running")
    assert made.location == f"/api/v1/sessions/{session['id']}"
    assert session["url"] == f"http://127.0.0.1:8000/sessions/{session['id']}"
    assert session["tty_url"] == f"ws://127.0.0.1:8000/sessions/{session['id']}/tty"
    running = (await program.get(f"{made.location}?wait=running&timeout=5")).json
    assert (running["state"], running["reason"]) == ("running", None)
    for key in ("created_at", "started_at", "stops_at"):
        assert datetime.fromisoformat(running[key]).utcoffset() is not None
    assert [one["id"] for one in (await program.get("/api/v1/sessions")).json] == [session["id"]]
    renamed = await program.send("PATCH", made.location, json={"name": "Whales"})
    assert (renamed.status, renamed.json["name"]) == (200, "Whales")
    stopped = await program.send("POST", f"{made.location}/stop")
    assert stopped.status == 202
    assert (await program.get(f"{made.location}?wait=stopped&timeout=5")).json["reason"] == "stopped_by_user"
    started = await program.send("POST", f"{made.location}/start")
    assert started.status == 202
    assert (await program.get(f"{made.location}?wait=running&timeout=5")).json["state"] == "running"
    gone = await program.send("DELETE", made.location)
    assert (gone.status, gone.body) == (204, b"")
    assert is_problem(await program.get(made.location), 404)
    assert is_problem(await program.send("DELETE", made.location), 404)


async def test_over_tls_the_addresses_say_so(settings: Settings, database: object) -> None:
    async with serve(dataclasses.replace(settings, public_url="https://hub.example.org")) as site:
        program = await site.program(await site.hub.accounts.add("ada@example.org"))
        session = (await program.send("POST", "/api/v1/sessions")).json
        assert session["url"] == f"https://hub.example.org/sessions/{session['id']}"
        assert session["tty_url"] == f"wss://hub.example.org/sessions/{session['id']}/tty"


async def test_waiting_ends_when_time_is_up_or_when_it_gets_there(site: Site, program: Browser) -> None:
    site.runtime.hold()
    address = (await program.send("POST", "/api/v1/sessions")).location
    assert (await program.get(f"{address}?wait=running&timeout=0.05")).json["state"] == "starting"
    waiting = asyncio.create_task(program.get(f"{address}?wait=running&timeout=10"))
    while not site.runtime.world.runs:
        await asyncio.sleep(0)
    site.runtime.let_go()
    assert (await asyncio.wait_for(waiting, 5)).json["state"] == "running"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": 7}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"nmae": "x"}, "nmae"),
        ({"source": "sample:penguins.csv"}, "source"),
        ({"source": {"sample": "penguins.csv", "file": "x"}}, "source"),
        ({"source": {"sample": ""}}, "source"),
        ({"source": {"sample": 7}}, "source"),
        ({"source": {"disk": "/"}}, "source"),
        ({"source": {"file": "gone.csv"}}, "source"),
        ({"source": {"file": "../x"}}, "path"),
        ({"source": {"file": "\ud83d"}}, "path"),
        ({"source": {"sample": "pingwins.csv"}}, "sample"),
    ],
)
async def test_what_cannot_be_used_is_named_and_makes_nothing(
    program: Browser, body: dict[str, object], field: str
) -> None:
    answer = await program.send("POST", "/api/v1/sessions", json=body)
    assert is_problem(answer, 422)
    assert answer.json["field"] == field
    assert (await program.get("/api/v1/sessions")).json == []


@pytest.mark.parametrize("data", [b"[]", b"7", b"null", b"{", b"\xff\xfe", b'"text"', b"[" * 100_000])
async def test_what_is_no_json_object_is_refused(program: Browser, data: bytes) -> None:
    assert is_problem(await program.send("POST", "/api/v1/sessions", data=data), 422)


async def test_no_body_at_all_is_fine(program: Browser) -> None:
    made = await program.send("POST", "/api/v1/sessions")
    assert (made.status, made.json["name"], made.json["source"]) == (201, "Scratch", None)


@pytest.mark.parametrize("query", ["wait=flying", "wait=running&timeout=soon", "wait=running&timeout=nan"])
async def test_bad_waiting_is_refused(program: Browser, query: str) -> None:
    address = (await program.send("POST", "/api/v1/sessions")).location
    assert is_problem(await program.get(f"{address}?{query}"), 422)


async def test_errors_are_problems_whatever_goes_wrong(program: Browser, site: Site) -> None:
    assert is_problem(await program.get("/api/v1/nothing"), 404)
    not_that_way = await program.send("PUT", "/api/v1/sessions")
    assert is_problem(not_that_way, 405)
    assert set(not_that_way.headers["Allow"].split(", ")) >= {"GET", "POST"}
    for headers in ({}, {"Authorization": "Bearer hub_wrong"}, {"Authorization": "Basic eDp5"}):
        nobody = await site.browser().get("/api/v1/sessions", headers=headers)
        assert is_problem(nobody, 401)
        assert nobody.headers["WWW-Authenticate"] == "Bearer"
    big = await program.send("POST", "/api/v1/sessions", data=b" " * (2 << 20))
    assert is_problem(big, 413)


async def test_other_peoples_sessions_and_files_are_not_there(program: Browser, site: Site) -> None:
    address = (await program.send("POST", "/api/v1/sessions")).location
    await program.send("PUT", "/api/v1/files/secret.csv", data=b"a\n")
    eve = await site.program(await site.hub.accounts.add("eve@example.org"))
    for method, path in [
        ("GET", address),
        ("PATCH", address),
        ("DELETE", address),
        ("POST", f"{address}/start"),
        ("POST", f"{address}/stop"),
        ("GET", "/api/v1/files/secret.csv"),
        ("DELETE", "/api/v1/files/secret.csv"),
    ]:
        answer = await eve.send(method, path, json={"name": "x"} if method == "PATCH" else ...)
        assert is_problem(answer, 404), f"{method} {path}"
    assert (await eve.get("/api/v1/sessions")).json == []
    assert (await eve.get("/api/v1/files/")).json == []
    assert (await program.get("/api/v1/files/secret.csv")).body == b"a\n"


async def test_a_file_for_a_folder_that_is_not_there_is_refused_in_true_words(program: Browser) -> None:
    """It used to be "nothing at new-folder/x.csv", which the call would have made."""
    answer = await program.send("PUT", "/api/v1/files/new-folder/x.csv", data=b"a\n")
    assert is_problem(answer, 404)
    assert "There is no folder “new-folder” in your files, so nothing was stored." in answer.json["detail"]


async def test_the_limit_of_sessions_holds_here_too(settings: Settings, database: object) -> None:
    async with serve(dataclasses.replace(settings, sessions_per_user=1)) as site:
        program = await site.program(await site.hub.accounts.add("ada@example.org"))
        answers = await asyncio.gather(*(program.send("POST", "/api/v1/sessions") for _ in range(5)))
        assert sorted(answer.status for answer in answers) == [201, 429, 429, 429, 429]
        assert is_problem(await program.send("POST", "/api/v1/sessions"), 429)


async def test_too_often_is_a_problem_that_says_when_to_try_again(site: Site) -> None:
    form = {"email": "ada@example.org", "password": "wrong"}
    for _ in range(11):
        answer = await site.browser().post("/login", form, headers={"Accept": "application/json"})
    assert is_problem(answer, 429)
    assert int(answer.headers["Retry-After"]) >= 1


async def test_the_samples_are_listed_with_where_they_come_from(program: Browser) -> None:
    samples = (await program.get("/api/v1/samples")).json
    assert "penguins.csv" in {sample["name"] for sample in samples}
    for sample in samples:
        assert all(sample[key] for key in ("name", "title", "description", "format", "licence", "source"))


async def test_a_file_is_stored_listed_read_replaced_opened_and_deleted(program: Browser) -> None:
    assert (await program.get("/api/v1/files/")).json == []
    data = bytes(range(256)) * 8192  # 2 MiB.
    stored = await program.send("PUT", "/api/v1/files/mine.bin", data=data)
    assert stored.status == 201
    assert stored.json == {"name": "mine.bin", "path": "mine.bin", "size": len(data)}
    assert (await program.get("/api/v1/files/mine.bin")).body == data
    (entry,) = (await program.get("/api/v1/files/")).json
    assert (entry["name"], entry["kind"], entry["size"]) == ("mine.bin", "file", len(data))
    assert datetime.fromisoformat(entry["modified"]).utcoffset() is not None
    again = await program.send("PUT", "/api/v1/files/mine.bin", data=b"a,b\n1,2\n")
    assert again.status == 200
    assert (await program.get("/api/v1/files/mine.bin")).body == b"a,b\n1,2\n"
    made = await program.send("POST", "/api/v1/sessions", json={"source": {"file": "mine.bin"}})
    assert (made.status, made.json["source"]) == (201, {"file": "mine.bin"})
    assert (await program.send("DELETE", "/api/v1/files/mine.bin")).status == 204
    assert is_problem(await program.get("/api/v1/files/mine.bin"), 404)


@pytest.mark.parametrize("path", ["../x", "a/../../x", "a//b", "%2e%2e/x", "..%2Fx", "x%00y", ".hub-upload-x"])
async def test_a_path_that_leads_out_of_ones_home_is_refused(program: Browser, path: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = await program.send(method, f"/api/v1/files/{path}", data=b"x" if method == "PUT" else None)
        assert answer.status in (404, 422), method
        assert is_problem(answer, answer.status)


async def test_an_upload_over_the_limit_is_refused_and_leaves_nothing(settings: Settings, database: object) -> None:
    async with serve(dataclasses.replace(settings, max_upload=1000)) as site:
        program = await site.program(await site.hub.accounts.add("ada@example.org"))
        assert is_problem(await program.send("PUT", "/api/v1/files/x.csv", data=b"x" * 1001), 413)
        assert (await program.get("/api/v1/files/")).json == []
        assert (await program.send("PUT", "/api/v1/files/x.csv", data=b"x" * 1000)).status == 201
