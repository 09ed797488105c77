"""The page of one's sessions: each action by htmx and without any script, and nothing of anybody else's."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from datetime import timedelta

import pytest
from serving import Browser, Site, serve

from app.accounts.models import Account
from app.errors import RuntimeFailure
from app.runtimes.base import Reason, RunId
from app.settings import Settings


async def create(browser: Browser, name: str = "Penguins", **form: str) -> str:
    """Make a session as the page does without a script; its id."""
    answer = await browser.post("/sessions", {"name": name, "open": "1", **form})
    assert answer.status == 303, answer.text
    return answer.location.rpartition("/")[2]


def form_key(html: str) -> str:
    found = re.search(r'name="form_key" id="form-key" value="([^"]+)"', html)
    assert found is not None
    return found[1]


def rows(html: str) -> list[str]:
    """The ids of the sessions in a list."""
    return re.findall(r'<tr id="s-(\w{12})"', html)


def is_fragment(html: str) -> bool:
    return "<html" not in html


async def test_who_has_no_session_is_told_what_to_do_first(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    page = await ada.get("/sessions")
    assert "No sessions yet" in page.text
    assert "Create and open" in page.text
    assert "sample:" in page.text


async def test_without_a_script_every_action_leads_back_to_the_list_with_a_notice(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    session_id = await create(ada)
    await site.until_state(account.id, session_id, "running")
    for action, form, notice in [
        ("rename", {"name": "Whales"}, "It is now called “Whales”."),
        ("stay", {}, "“Whales” stays."),
        ("stop", {"sure": "1"}, "“Whales” is stopping. Files in your home are kept."),
        ("start", {}, "“Whales” is starting."),
        ("delete", {}, "“Whales” is deleted. Files in your home are kept."),
    ]:
        answer = await ada.post(f"/sessions/{session_id}/{action}", form)
        assert (answer.status, answer.location) == (303, "/sessions"), action
        assert notice in (await ada.get("/sessions")).text, action
        assert notice not in (await ada.get("/sessions")).text, "a notice is shown once"
    answer = await ada.post("/sessions", {"name": "Next"})
    assert (answer.status, answer.location) == (303, "/sessions")
    assert "“Next” is starting." in (await ada.get("/sessions")).text


async def test_by_htmx_every_action_answers_with_the_new_list_and_the_notice(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    created = await ada.post("/sessions", {"name": "Penguins"}, htmx=True)
    (session_id,) = rows(created.text)
    await site.until_state(account.id, session_id, "running")
    for action, form, shows in [
        ("rename", {"name": "Whales"}, "Whales</a>"),
        ("stay", {}, "Running"),
        ("stop", {"sure": "1"}, "Stopping"),
        ("start", {}, "Whales</a>"),
    ]:
        answer = await ada.post(f"/sessions/{session_id}/{action}", form, htmx=True)
        assert answer.status == 200
        assert is_fragment(answer.text)
        assert shows in answer.text, action
        assert rows(answer.text) == [session_id]
        assert '<hx-partial hx-target="#notices"' in answer.text
    answer = await ada.post(f"/sessions/{session_id}/delete", {}, htmx=True)
    assert rows(answer.text) == []
    assert "No sessions yet" in answer.text
    assert is_fragment((await ada.get("/sessions", htmx=True)).text)
    whole = await ada.get("/sessions", htmx=True, headers={"HX-History-Restore-Request": "true"})
    assert not is_fragment(whole.text)


async def test_a_program_in_the_page_that_asks_for_json_gets_json(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    session_id = await create(ada)
    answer = await ada.post(f"/sessions/{session_id}/stay", {}, headers={"Accept": "application/json"})
    assert (answer.status, answer.json) == (200, {})


async def test_the_create_form_sent_twice_makes_one_session_and_the_next_form_another(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    key = form_key((await ada.get("/sessions")).text)
    first = await ada.post("/sessions", {"form_key": key}, htmx=True)
    again = await ada.post("/sessions", {"form_key": key}, htmx=True)
    assert rows(first.text) == rows(again.text)
    fresh = re.search(r'id="form-key" value="([^"]+)" hx-swap-oob="true"', first.text)
    assert fresh is not None
    third = await ada.post("/sessions", {"form_key": fresh[1]}, htmx=True)
    assert len(rows(third.text)) == 2


async def test_a_session_is_named_after_what_it_opens_unless_it_is_given_a_name(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    await ada.send("PUT", "/files/upload/prices.csv", data=b"a,b\n1,2\n")
    for source, name in [("", "Scratch"), ("sample:penguins.csv", "penguins.csv"), ("file:prices.csv", "prices.csv")]:
        await create(ada, "", source=source)
        assert f">{name}</a>" in (await ada.get("/sessions")).text


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"source": "sample:pingwins.csv"}, "Did you mean penguins.csv?"),
        ({"source": "file:gone.csv"}, "There is no file “gone.csv” among yours."),
        ({"source": "file:../../secret"}, "cannot hold “.” or “..”"),
        ({"source": "file:/etc/passwd"}, "without a slash in front"),
        ({"source": "file:nul\0"}, "NUL"),
        ({"source": "nonsense"}, "Choose what to open"),
        ({"source": "sample:"}, "There is no sample"),
        ({"name": "x" * 101}, "100 characters at most"),
    ],
)
async def test_a_form_that_cannot_be_used_comes_back_with_what_was_typed(
    site: Site, form: dict[str, str], words: str
) -> None:
    account, ada = await site.person("ada@example.org")
    form = {"name": "My name for it", **form}
    page = await ada.post("/sessions", form)
    assert page.status == 422
    assert words in page.text
    assert f'value="{form["name"]}"' in page.text
    notice = await ada.post("/sessions", form, htmx=True)
    assert notice.status == 422
    assert notice.headers["HX-Retarget"] == "#notices"
    assert words in notice.text
    assert is_fragment(notice.text)
    assert await site.hub.sessions.list(account.id) == []


async def test_who_has_as_many_sessions_as_they_may_is_told_what_to_do(settings: Settings, database: object) -> None:
    async with serve(dataclasses.replace(settings, sessions_per_user=2)) as site:
        _, ada = await site.person("ada@example.org")
        for _ in range(2):
            await create(ada)
        words = "You have 2 sessions, which is as many as you may have. Delete one that you no longer need"
        page = await ada.post("/sessions", {"name": "Third"})
        assert page.status == 429
        assert words in page.text
        assert "2 of 2 sessions: delete one to make another" in page.text
        notice = await ada.post("/sessions", {"name": "Third"}, htmx=True)
        assert notice.status == 429
        assert words in notice.text


async def test_a_bad_new_name_brings_the_form_back(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    session_id = await create(ada)
    for htmx in (False, True):
        answer = await ada.post(f"/sessions/{session_id}/rename", {"name": "y" * 101}, htmx=htmx)
        assert answer.status == 422
        assert "100 characters at most" in answer.text
        assert f'value="{"y" * 101}"' in answer.text
        assert f'action="/sessions/{session_id}/rename"' in answer.text
        assert is_fragment(answer.text) is htmx


async def test_delete_and_rename_ask_first_on_a_page_or_in_the_dialog(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    session_id = await create(ada)
    await site.until_state(account.id, session_id, "running")
    for action, words in [
        ("delete", "what you have not saved there is lost"),
        ("rename", "New name"),
    ]:
        for htmx in (False, True):
            answer = await ada.get(f"/sessions/{session_id}/{action}", htmx=htmx)
            assert answer.status == 200
            assert words in answer.text
            assert is_fragment(answer.text) is htmx
    assert len(await site.hub.sessions.list(account.id)) == 1, "asking does nothing"


async def test_names_and_files_are_shown_and_never_run(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    bad = "<script>alert(1)</script>\"onx='"
    session_id = await create(ada, bad)
    await ada.send("PUT", "/files/upload/%3Cscript%3E.csv", data=b"x")
    for path in ("/sessions", f"/sessions/{session_id}", f"/sessions/{session_id}/delete", "/files"):
        text = (await ada.get(path)).text
        assert "<script>alert" not in text
        assert "<script>.csv" not in text
        assert '"onx=' not in text


async def test_other_peoples_sessions_are_not_there(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    _, eve = await site.person("eve@example.org")
    session_id = await create(ada, "Secret plans")
    await site.until_state(account.id, session_id, "running")
    tried = 0
    for method, path in [
        ("GET", ""),
        ("GET", "/state"),
        ("GET", "/rename"),
        ("GET", "/delete"),
        ("GET", "/stop"),
        ("POST", "/rename"),
        ("POST", "/start"),
        ("POST", "/stop"),
        ("POST", "/stay"),
        ("POST", "/delete"),
    ]:
        answers = [
            await eve.send(method, f"/sessions/{one}{path}", {"name": "x"} if method == "POST" else None)
            for one in (session_id, "abcdefghijkm")
        ]
        assert [answer.status for answer in answers] == [404, 404], path
        assert answers[0].body == answers[1].body
        tried += 1
    assert tried == sum(
        rule.rule.startswith("/sessions/<session_id>") and not rule.websocket and not rule.rule.endswith("stop-any")
        for rule in site.app.url_map.iter_rules()
    )
    assert "Secret plans" not in (await eve.get("/sessions")).text
    (kept,) = await site.hub.sessions.list(account.id)
    assert (kept.name, kept.wanted) == ("Secret plans", "running")


async def test_an_address_that_no_session_can_have_leads_nowhere(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    for odd in ("%00", "x" * 3000, "%F0%9F%90%A7", "a%00b", "..%2Fadmin"):
        assert (await ada.get(f"/sessions/{odd}/state")).status == (422 if "%00" in odd else 404), odd


async def test_why_a_session_is_not_running_is_told_with_the_way_on(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    site.runtime.fail(RuntimeFailure("The picture could not be fetched.", reason=Reason.IMAGE_UNAVAILABLE))
    session_id = await create(ada)
    await site.until_state(account.id, session_id, "failed")
    for path in ("/sessions", f"/sessions/{session_id}"):
        page = (await ada.get(path)).text
        assert "Its program could not be fetched. An administrator has to look." in page
        assert "The picture could not be fetched." in page, "what the runtime said itself"
    state = (await ada.get(f"/sessions/{session_id}/state")).json
    assert (state["state"], state["reason"]) == ("failed", "image_unavailable")
    again = await ada.post(f"/sessions/{session_id}/start", {"open": "1"})
    assert again.location == f"/sessions/{session_id}"
    await site.until_state(account.id, session_id, "running")
    assert "could not be fetched" not in (await ada.get("/sessions")).text


async def used(site: Site, account: Account, browser: Browser, name: str = "Penguins") -> str:
    """A session that runs and that was typed in."""
    session_id = await create(browser, name)
    await site.until_state(account.id, session_id, "running")
    await site.hub.sessions.note_input([session_id])
    return session_id


async def test_stopping_a_session_that_was_used_asks_first_with_and_without_a_script(site: Site) -> None:
    """What VisiData holds and has not saved goes with it."""
    account, ada = await site.person("ada@example.org")
    session_id = await used(site, account, ada)
    stop = f"/sessions/{session_id}/stop"
    dialog = await ada.post(stop, {}, htmx=True)
    assert (dialog.status, dialog.headers["HX-Retarget"]) == (200, "#dialog")
    plain = await ada.post(stop, {})
    assert (plain.status, plain.location) == (303, stop)
    page = await ada.get(stop)
    for asked in (dialog, page):
        assert "Stop “Penguins”?" in asked.text
        assert "changes that you have not saved are lost" in asked.text
        assert "Your last input was just now." in asked.text
        assert '<input type="hidden" name="sure" value="1">' in asked.text
    assert (await site.hub.sessions.get(account.id, session_id)).wanted == "running", "a question stops nothing"
    answer = await ada.post(stop, {"sure": "1"}, htmx=True)
    assert "is stopping" in answer.text
    await site.until_state(account.id, session_id, "stopped")


async def test_stopping_a_session_that_nobody_used_or_that_is_over_asks_nothing(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    session_id = await create(ada)
    await site.until_state(account.id, session_id, "running")
    assert "is stopping" in (await ada.post(f"/sessions/{session_id}/stop", {}, htmx=True)).text
    await site.until_state(account.id, session_id, "stopped")
    assert "is stopping" in (await ada.post(f"/sessions/{session_id}/stop", {}, htmx=True)).text
    assert "You stopped it." in (await ada.get("/sessions")).text
    _, admin = await site.person("root@example.org", admin=True)
    assert "Its owner stopped it." in (await admin.get("/admin")).text


async def test_input_that_is_not_written_down_yet_counts_as_use(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    session_id = await create(ada)
    await site.until_state(account.id, session_id, "running")
    site.hub.terminals.typed_in.add(session_id)
    assert "Stop “Penguins”?" in (await ada.post(f"/sessions/{session_id}/stop", {}, htmx=True)).text


async def test_an_administrator_is_asked_too_and_told_whose_it_is(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    _, root = await site.person("root@example.org", admin=True)
    session_id = await used(site, account, ada)
    stop = f"/sessions/{session_id}/stop-any"
    dialog = await root.post(stop, {}, htmx=True)
    assert dialog.headers["HX-Retarget"] == "#dialog"
    assert (await root.post(stop, {})).location == stop
    for asked in (dialog, await root.get(stop)):
        assert "It belongs to ada@example.org. The last input was just now." in asked.text
        assert "changes that were not saved are lost" in asked.text
    assert (await root.post(stop, {"sure": "1"})).location == "/admin"
    await site.until_state(account.id, session_id, "stopped")


async def test_a_session_that_was_never_used_has_no_last_input(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    session_id = await create(ada)
    await site.until_state(account.id, session_id, "running")
    cell = '<td data-label="Last input"><span class="quiet">–</span></td>'
    assert cell in (await ada.get("/sessions")).text
    await site.hub.sessions.note_input([session_id])
    assert cell not in (await ada.get("/sessions")).text


async def test_a_session_that_was_quit_says_so(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    session_id = await create(ada)
    await site.until_state(account.id, session_id, "running")
    site.runtime.quit(RunId(session_id, 1))
    await site.until_state(account.id, session_id, "stopped")
    page = (await ada.get("/sessions")).text
    assert "VisiData was quit." in page
    assert f'aria-label="Start {"Penguins"}"' in page


async def test_who_waits_for_room_is_told_their_place_in_the_line(settings: Settings, database: object) -> None:
    async with serve(dataclasses.replace(settings, max_runs=1)) as site:
        account, ada = await site.person("ada@example.org")
        first, second, third = [await create(ada, name) for name in ("One", "Two", "Three")]
        await site.until_state(account.id, first, "running")
        await site.until_state(account.id, third, "queued")
        page = (await ada.get("/sessions")).text
        assert "Number 1 in line" in page
        assert "Number 2 in line" in page
        await ada.post(f"/sessions/{first}/stop", {})
        await site.until_state(account.id, second, "running")
        assert "Number 1 in line" in (await ada.get("/sessions")).text


async def test_the_page_can_wait_for_a_state_and_is_answered_when_it_is_there_or_time_is_up(site: Site) -> None:
    account, ada = await site.person("ada@example.org")
    site.runtime.hold()
    session_id = await create(ada)
    path = f"/sessions/{session_id}/state"
    early = await ada.get(f"{path}?wait=running&timeout=0")
    assert early.json["state"] == "starting"
    await site.until_state(account.id, session_id, "starting")
    site.runtime.let_go()
    assert (await ada.get(f"{path}?wait=running&timeout=5")).json["state"] == "running"
    for bad in ("wait=flying", "wait=running&timeout=soon", "wait=running&timeout=nan"):
        assert (await ada.get(f"{path}?{bad}")).status == 422, bad
    await ada.post(f"/sessions/{session_id}/stop", {})
    assert (await ada.get(f"{path}?wait=stopped&timeout=5")).json["state"] == "stopped"
    rests = await ada.get(f"{path}?wait=running&timeout=30")
    assert rests.json["state"] == "stopped", "what is at rest gets nowhere by itself"


async def test_a_page_that_waits_for_a_start_is_told_of_each_step(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    site.runtime.hold()
    session_id = await create(ada)
    wait = f"/sessions/{session_id}/state?wait=running&timeout=25"
    async with asyncio.timeout(10):
        step = (await ada.get(f"{wait}&seen=Starting+VisiData")).json
        assert (step["state"], step["detail"]) == ("starting", "Held")
        seen = site.runtime.world.runs[RunId(session_id, 1)]
        site.runtime.world.put(dataclasses.replace(seen, detail="Fetching"))
        step = (await ada.get(f"{wait}&seen=Held")).json
        assert (step["state"], step["detail"]) == ("starting", "Fetching")
        site.runtime.let_go()
        assert (await ada.get(f"{wait}&seen=Fetching")).json["state"] == "running"


async def test_soon_before_it_stops_people_can_say_that_they_are_there(settings: Settings, database: object) -> None:
    async with serve(dataclasses.replace(settings, idle_timeout=timedelta(minutes=5))) as site:
        account, ada = await site.person("ada@example.org")
        session_id = await create(ada)
        await site.until_state(account.id, session_id, "running")
        page = (await ada.get("/sessions")).text
        assert f'action="/sessions/{session_id}/stay"' in page
        await ada.post(f"/sessions/{session_id}/stay", {})
        assert (await site.hub.sessions.get(account.id, session_id)).last_input_at is not None
