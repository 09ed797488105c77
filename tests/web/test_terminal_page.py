"""A person's terminals look as that person has chosen, from the first byte of the page on."""

from __future__ import annotations

import pytest
from serving import Browser, Site

CHOSEN = {"theme": "contrast", "font": "dejavu", "size": "20", "reader": "on"}
JSON = {"Accept": "application/json"}


async def terminal_page(browser: Browser) -> str:
    location = (await browser.post("/sessions", {"source": "", "open": "1"})).location
    return (await browser.get(location)).text


async def test_what_is_chosen_on_the_account_page_is_how_terminals_come(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    assert (await ada.post("/account/terminal", CHOSEN)).location == "/account"
    page = await terminal_page(ada)
    assert '<html lang="en" data-theme="contrast">' in page
    assert '<option value="dejavu" selected>' in page
    assert 'value="20"' in page
    assert 'name="reader" checked' in page
    assert 'name="guard">' in page
    assert page.count("theme-color") == 1  # And not the system's two.
    assert '<option value="contrast" selected>' in (await ada.get("/account")).text


async def test_a_terminals_own_dialog_gets_an_answer_without_a_page(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    answer = await ada.post("/account/terminal", CHOSEN, headers=JSON)
    assert (answer.status, answer.body) == (204, b"")
    answer = await ada.post("/account/terminal", {**CHOSEN, "size": "400"}, headers=JSON)
    assert (answer.status, answer.json["field"]) == (422, "size")
    assert '<option value="contrast" selected>' in (await ada.get("/account")).text


async def test_a_wrong_choice_is_told_on_the_page_and_changes_nothing(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    answer = await ada.post("/account/terminal", {**CHOSEN, "theme": "pink"})
    assert answer.status == 422
    assert "is one of system, light, dark, contrast" in answer.text
    assert '<option value="system" selected>' in (await ada.get("/account")).text


async def test_guests_choose_too_and_nobody_chooses_for_another(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    guest = site.browser()
    await guest.post("/login/guest")
    assert (await guest.post("/account/terminal", CHOSEN)).location == "/account"
    assert 'data-theme="contrast"' in await terminal_page(guest)
    assert 'data-theme="system"' in await terminal_page(ada)


@pytest.mark.parametrize("path", ["/login", "/sessions"])
async def test_every_page_names_the_app_and_all_of_it_is_there(site: Site, path: str) -> None:
    _, ada = await site.person("ada@example.org")
    page = (await (ada if path == "/sessions" else site.browser()).get(path)).text
    start = page.index('href="/static/app.webmanifest') + len('href="')
    manifest = await site.browser().get(page[start : page.index('"', start)])
    assert manifest.status == 200
    assert manifest.headers["Content-Type"].startswith("application/manifest+json")
    assert (manifest.json["start_url"], manifest.json["display"]) == ("/sessions", "standalone")
    for icon in manifest.json["icons"]:
        answer = await site.browser().get(f"/static/{icon['src']}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, icon["type"]), icon["src"]
