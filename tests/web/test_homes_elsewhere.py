"""Where sessions run in a cluster, the Hub may not have people's files at hand: pages say so, and promise nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import pytest
from serving import Site, serve

from app.db.database import Database
from app.settings import Settings


def in_cluster(settings: Settings, home: str) -> Settings:
    return dataclasses.replace(
        settings, runtime="kubernetes", secret_key="s" * 40, k8s_home=home, k8s_home_claim="homes"
    )


@pytest.fixture(params=["emptydir", "pvc"])
async def elsewhere(request: pytest.FixtureRequest, settings: Settings, database: Database) -> AsyncIterator[Site]:
    async with serve(in_cluster(settings, request.param)) as site:
        yield site


async def test_no_page_offers_what_the_hub_cannot_do(elsewhere: Site) -> None:
    _, browser = await elsewhere.person("ada@example.org")
    page = (await browser.get("/sessions")).text
    assert 'href="/files"' not in page
    assert "data-upload" not in page
    assert "drop a file" not in page
    told = await browser.get("/files")
    assert (told.status, "Ctrl+S" in told.text) == (409, True)


async def test_programs_are_told_so_too_and_nothing_is_stored(elsewhere: Site) -> None:
    program = await elsewhere.program(await elsewhere.hub.accounts.add("ada@example.org"))
    for method, path in (("GET", ""), ("GET", "a.csv"), ("PUT", "a.csv"), ("DELETE", "a.csv")):
        answer = await program.send(method, f"/api/v1/files/{path}", data=b"a,b\n1,2\n" if method == "PUT" else None)
        assert (answer.status, "uploads" in answer.json["detail"]) == (409, True)
    assert not elsewhere.hub.homes.root.exists()


async def test_a_file_on_ones_own_volume_can_be_opened_although_the_hub_cannot_see_it(
    settings: Settings, database: Database
) -> None:
    async with serve(in_cluster(settings, "pvc")) as site:
        program = await site.program(await site.hub.accounts.add("ada@example.org"))
        made = await program.send("POST", "/api/v1/sessions", json={"source": {"file": "data/x.csv"}})
        assert (made.status, made.json["source"]) == (201, {"file": "data/x.csv"})
        refused = await program.send("POST", "/api/v1/sessions", json={"source": {"file": "../x.csv"}})
        assert refused.status == 422


async def test_with_a_home_that_goes_with_the_session_no_file_can_be_opened_and_no_page_says_that_it_stays(
    settings: Settings, database: Database
) -> None:
    async with serve(in_cluster(settings, "emptydir")) as site:
        account, browser = await site.person("ada@example.org")
        program = await site.program(account)
        refused = await program.send("POST", "/api/v1/sessions", json={"source": {"file": "x.csv"}})
        assert refused.status == 422
        made = await program.send("POST", "/api/v1/sessions", json={})
        for path in (f"/sessions/{made.json['id']}", f"/sessions/{made.json['id']}/delete"):
            assert "go with it" in (await browser.get(path)).text


async def test_on_a_volume_that_the_hub_shares_people_have_the_files_page_and_guests_do_not(
    settings: Settings, database: Database
) -> None:
    async with serve(in_cluster(settings, "shared")) as site:
        _, browser = await site.person("ada@example.org")
        assert (await browser.get("/files")).status == 200
        assert 'href="/files"' in (await browser.get("/sessions")).text
        guest = site.browser()
        assert (await guest.post("/login/guest")).status == 303
        assert (await guest.get("/files")).status == 409
