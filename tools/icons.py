"""Draws static/icon.svg in the sizes that installed apps want, into static/icons, with the Chromium of the browser tests.

    .venv/bin/python -m tools.icons

By hand, after the picture has changed: what it makes is committed.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from playwright.async_api import async_playwright

from e2e.browser import launch

STATIC = Path(__file__).resolve().parent.parent / "static"
# Size in pixels, and how much of each side is margin. Platforms cut a maskable icon to a circle of 80 % of its width
# (the Web App Manifest's safe zone), and iOS to a square with round corners: both get the colour up to the edge.
ICONS = {"192": (192, 0.0), "512": (512, 0.0), "180": (180, 0.08), "maskable-512": (512, 0.14)}
GROUND = "#0f766e"


async def main() -> None:
    svg = (STATIC / "icon.svg").read_text()
    (STATIC / "icons").mkdir(exist_ok=True)
    async with async_playwright() as playwright:
        browser = await launch(playwright)
        for name, (size, margin) in ICONS.items():
            page = await browser.new_page(viewport={"width": size, "height": size})
            ground = GROUND if margin else "transparent"
            await page.set_content(
                f"<style>body{{margin:0;background:{ground}}}svg{{display:block;width:{size * (1 - 2 * margin)}px;"
                f"margin:{size * margin}px}}</style>{svg}"
            )
            await page.screenshot(path=STATIC / "icons" / f"{name}.png", omit_background=True)
            await page.close()
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
