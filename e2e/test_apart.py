"""Two people, two browsers: neither reaches anything of the other's, by any address, nor from inside VisiData."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template

import pytest
from playwright.async_api import Cookie, expect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from e2e.browser import Browse, Person, Terminal, create_and_open
from e2e.hub import HubProcess

SECRET = "the-secret-of-ada"


async def _close_code(url: str, session_id: str, cookies: list[Cookie]) -> int | None:
    """What a terminal's WebSocket is closed with, before anything else was heard on it.

    Not asked of Chromium: it says 1006 for a close that crosses its answer to a ping.
    """
    cookie = "; ".join(f"{one['name']}={one['value']}" for one in cookies)
    address = f"{url.replace('http', 'ws', 1)}/sessions/{session_id}/tty"
    async with connect(
        address, subprotocols=[Subprotocol("hub.tty.v1")], origin=Origin(url), additional_headers={"Cookie": cookie}
    ) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    return socket.close_code


async def test_neither_sees_opens_attaches_to_stops_or_reads_what_is_the_others(
    url: str, ada: Person, grace: Person, browse: Browse
) -> None:
    await ada.api.put("/api/v1/files/secret.csv", data=f"secret\n{SECRET}\n".encode())
    hers = await browse(ada)
    terminal = await create_and_open(hers, url, "path:secret.csv", "Ada's own")
    await terminal.sees(SECRET)
    address = hers.url
    session_id = address.rpartition("/")[2]

    page = await browse(grace)
    await page.goto(f"{url}/sessions")
    await expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible()
    await expect(page.locator("body")).not_to_contain_text("Ada's own")
    await page.goto(f"{url}/files")
    await expect(page.locator("body")).not_to_contain_text("secret.csv")

    for path in ("", "/state", "/rename", "/delete"):
        answer = await page.context.request.get(address + path)
        assert answer.status == 404, path
        assert SECRET not in await answer.text() and "Ada's own" not in await answer.text()
    for action in ("rename", "start", "stop", "stay", "delete", "stop-any"):
        answer = await page.context.request.post(f"{address}/{action}", form={"name": "Grace's now"})
        assert answer.status == 404, action
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/start"), ("POST", "/stop")):
        data = {"name": "Grace's now"} if method == "PATCH" else None
        answer = await grace.api.fetch(f"/api/v1/sessions/{session_id}{path}", method=method, data=data)
        assert answer.status == 404, (method, path)
    for path in ("secret.csv", "../secret.csv", "..%2Fsecret.csv", "%2e%2e/%2e%2e/secret_key", "%2Fetc%2Fpasswd"):
        for answer in (
            await page.context.request.get(f"{url}/files/get/{path}"),
            await page.context.request.get(f"{url}/files/delete/{path}"),
            await page.context.request.post(f"{url}/files/delete/{path}"),
            await grace.api.get(f"/api/v1/files/{path}"),
            await grace.api.delete(f"/api/v1/files/{path}"),
        ):
            assert answer.status in (404, 405, 422), (path, answer.status)
            assert SECRET not in await answer.text()
    taken = await page.context.request.post(f"{url}/sessions", form={"source": "file:../secret.csv", "name": "x"})
    assert taken.status == 422

    assert await _close_code(url, session_id, await page.context.cookies()) == 4404
    assert await _close_code(url, session_id, []) == 4401
    await page.goto(address)
    await expect(page.get_by_role("heading", name="Not found")).to_be_visible()

    # All of that has not so much as touched hers.
    await expect(terminal.state).to_have_attribute("data-terminal-state", "connected")
    await terminal.press("Shift+F")
    await terminal.sees("secret_secret_freq", SECRET)
    session = await (await ada.api.get(f"/api/v1/sessions/{session_id}")).json()
    assert (session["name"], session["state"]) == ("Ada's own", "running")
    assert await (await ada.api.get("/api/v1/files/secret.csv")).text() == f"secret\n{SECRET}\n"


# What Grace's VisiData runs when it starts: it tries all that it should not be able to do, and writes down how it went.
SPY = Template("""
def spy():
  import glob, json, os

  def attempt(what):
    try:
        return str(what())
    except OSError as error:
        return type(error).__name__

  def write(path):
    with open(path, "a") as file:
        file.write("!")
    return "written"

  found = {
    "home": attempt(lambda: open(os.path.expanduser("~/own.txt")).read()),
    "sample": attempt(lambda: open("/samples/penguins.csv").readline()),
    "change a sample": attempt(lambda: write("/samples/penguins.csv")),
    "make a sample": attempt(lambda: write("/samples/new.csv")),
    "other homes": attempt(lambda: os.listdir("$data/homes")),
    "ada's file": attempt(lambda: open("$data/homes/$ada/secret.csv").read()),
    "secret key": attempt(lambda: open("$data/secret_key").read()),
    "runs": attempt(lambda: os.listdir("$data/runs")),
    "settings": attempt(lambda: open("$project/.env").read()),
    "code": attempt(lambda: open("$project/app/settings.py").read()),
    "hub's environment": attempt(lambda: open("/proc/$pid/environ", "rb").read()),
    "change the system": attempt(lambda: write("/usr/bin/env")),
    "passwords": attempt(lambda: open("/etc/shadow").read()),
    "processes": len(glob.glob("/proc/[0-9]*")),
    "environment": dict(os.environ),
  }
  with open(os.path.expanduser("~/report.json"), "w") as file:
    json.dump(found, file)

spy()
""")


async def test_from_inside_visidata_only_ones_own_home_the_samples_and_a_read_only_system_are_there(
    own_hub: HubProcess, ada: Person, grace: Person, browse: Browse
) -> None:
    await ada.api.put("/api/v1/files/secret.csv", data=f"secret\n{SECRET}\n".encode())
    (secret,) = own_hub.data.glob("homes/*/secret.csv")
    project = Path(__file__).resolve().parent.parent
    spy = SPY.substitute(data=own_hub.data, ada=secret.parent.name, project=project, pid=own_hub.pid)
    await grace.api.put("/api/v1/files/own.txt", data=b"mine")
    await grace.api.put("/api/v1/files/.visidatarc", data=spy.encode())
    page = await browse(grace)
    terminal: Terminal = await create_and_open(page, own_hub.url, "sample:penguins.csv")
    await terminal.sees("Adelie")
    answer = await grace.api.get("/api/v1/files/report.json")
    assert answer.ok, await answer.text()
    found = json.loads(await answer.body())
    await grace.api.delete("/api/v1/files/.visidatarc")

    assert found.pop("home") == "mine"
    assert found.pop("sample").startswith("species,")
    environment = found.pop("environment")
    assert environment["HOME"] == "/home/visidata"
    assert not [name for name in environment if name.startswith("HUB_")]
    assert own_hub.data.name not in json.dumps(environment).split("/")
    assert found.pop("processes") < 10
    refused = {"FileNotFoundError", "PermissionError", "OSError", "NotADirectoryError"}
    assert {what: said for what, said in found.items() if said not in refused} == {}
    # What was asked for is there, so it is the sandbox that hid it.
    assert secret.read_text() == f"secret\n{SECRET}\n"
    assert (own_hub.data / "secret_key").read_text()


@pytest.mark.parametrize("origin", ["https://elsewhere.example.org", "null"])
async def test_a_page_of_another_site_cannot_act_for_a_person(
    url: str, ada: Person, browse: Browse, origin: str
) -> None:
    session_id = await ada.create(source={"sample": "penguins.csv"})
    page = await browse(ada)
    headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
    answer = await page.context.request.post(f"{url}/sessions/{session_id}/stop", headers=headers)
    assert answer.status == 403
    await ada.reaches(session_id, "running")
