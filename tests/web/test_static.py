"""Styles, scripts and pictures: small on the wire, kept for a year under an address that names their content."""

from __future__ import annotations

import gzip
import re

from serving import Site

from app.settings import PROJECT

CSS = (PROJECT / "static" / "app.css").read_bytes()


async def test_a_file_is_sent_packed_to_who_can_unpack_it(site: Site) -> None:
    packed = await site.browser().get("/static/app.css", headers={"Accept-Encoding": "gzip, br"})
    plain = await site.browser().get("/static/app.css")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body == CSS
    assert len(packed.body) < len(plain.body) / 2
    assert "Content-Encoding" not in plain.headers
    for answer in (packed, plain):
        assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
        assert "Accept-Encoding" in answer.headers["Vary"]
        assert answer.headers["Content-Length"] == str(len(answer.body))


async def test_every_file_that_a_page_names_is_kept_for_ever_and_anything_else_is_asked_for_again(site: Site) -> None:
    page = (await site.browser().get("/login")).text
    named = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert len(named) >= 3
    for path in named:
        answer = await site.browser().get(path)
        assert answer.status == 200, path
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable", path
        assert "Set-Cookie" not in answer.headers
    for path in ("/static/app.css", "/static/app.css?v=old"):
        assert (await site.browser().get(path)).headers["Cache-Control"] == "no-cache"


async def test_what_a_browser_has_already_is_not_sent_again(site: Site) -> None:
    first = await site.browser().get("/static/app.css")
    again = await site.browser().get("/static/app.css", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    other = await site.browser().get("/static/app.css", headers={"If-None-Match": '"other"'})
    assert (other.status, other.body) == (200, CSS)


async def test_scripts_are_sent_as_scripts(site: Site) -> None:
    for path in ("/static/app.js", "/static/vendor/xterm.mjs"):
        assert (await site.browser().get(path)).headers["Content-Type"] == "text/javascript; charset=utf-8"


async def test_a_module_and_its_neighbours_have_the_version_of_their_whole_folder(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    location = (await ada.post("/sessions", {"source": "", "open": "1"})).location
    page = (await ada.get(location)).text
    main = next(path for path in re.findall(r'src="(/static/[^"]+)"', page) if path.endswith("/main.js"))
    folder = main.removesuffix("/main.js")
    script = await ada.get(main)
    assert "immutable" in script.headers["Cache-Control"]
    preloaded = set(re.findall(rf'rel="modulepreload" href="{folder}/([^"]+)"', page))
    found, at_once, looked_at = {"main.js"}, {"main.js"}, set()
    while new := found - looked_at:
        for name in new:
            answer = await ada.get(f"{folder}/{name}")
            assert answer.status == 200, name
            assert "immutable" in answer.headers["Cache-Control"], name
            imported = set(re.findall(r'^import .* from "\./([^"]+)"', answer.text, re.M))
            if name in at_once:
                at_once |= imported  # What the first screen waits for.
            found |= imported | set(re.findall(r'import\("\./([^"]+)"\)', answer.text))
            looked_at.add(name)
    assert preloaded == at_once - {"main.js"}
    assert len(found) > len(at_once) > 5
    # A page of the version before gets what there is, and does not keep it.
    old = await ada.get("/static/terminal/@0123456789ab/main.js")
    assert (old.body, old.headers["Cache-Control"]) == (script.body, "no-cache")
    assert (await ada.get("/static/vendor/@0123456789ab/xterm.mjs")).status == 404


async def test_nothing_outside_the_folder_is_sent(site: Site) -> None:
    for path in (
        "../pyproject.toml",
        "..%2Fpyproject.toml",
        "%2e%2e/pyproject.toml",
        "vendor/../../pyproject.toml",
        "..\\pyproject.toml",
        "app.css%00",
        "vendor",
        "",
        "no-such.css",
        "terminal/@0123456789ab/../../../pyproject.toml",
        "terminal/@0123456789ab/..",
    ):
        answer = await site.browser().get(f"/static/{path}")
        assert answer.status == 404, path
        assert b"visidata-hub" not in answer.body


async def test_a_page_weighs_under_60_kb_with_all_that_it_loads(site: Site) -> None:
    _, ada = await site.person("ada@example.org")
    page = await ada.get("/sessions")
    total = len(gzip.compress(page.body))
    for path in set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)):
        total += len((await ada.get(path, headers={"Accept-Encoding": "gzip"})).body)
    assert total < 60_000
