"""How a person wants their terminals: what can be chosen, what a form may say, what a row holds. No I/O.

Kept with the account, so that it is the same in every browser; guests keep theirs in their row too. Must not know how a
choice looks: colours and fonts are the page's (static/terminal/colours.js, static/terminal/settings.js).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

from app.errors import BadInput
from app.numbers import whole_number

THEMES = {"system": "As the system", "light": "Light", "dark": "Dark", "contrast": "High contrast"}
FONTS = {
    "system": "The system's own",
    "dejavu": "DejaVu, Menlo",
    "cascadia": "Cascadia, Consolas",
    "courier": "Courier",
}
SIZES = (9, 32)  # Pixels, least and most: below, VisiData cannot be read; above, a phone shows no column.


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a person has chosen for their terminals. The defaults are below.

    `size` is that of the font in pixels. `reader`: the screen is also kept as text for screen readers, which costs
    time. `guard`: the browser asks before it closes a tab in which the person has typed.
    """

    theme: str = "system"
    font: str = "system"
    size: int = 14
    reader: bool = False
    guard: bool = True

    @classmethod
    def from_form(cls, form: Mapping[str, str]) -> Self:
        """What a form says, whole: a box that is not ticked is not sent. Raises BadInput for what cannot be chosen."""
        theme, font, size = form.get("theme", ""), form.get("font", ""), form.get("size", "")
        if theme not in THEMES:
            raise BadInput(f"`theme` is one of {', '.join(THEMES)}.", field="theme")
        if font not in FONTS:
            raise BadInput(f"`font` is one of {', '.join(FONTS)}.", field="font")
        try:
            pixels = whole_number(size, *SIZES)
        except ValueError as error:
            raise BadInput(f"`size` is {error}, in pixels.", field="size") from None
        return cls(theme, font, pixels, form.get("reader") == "on", form.get("guard") == "on")

    @classmethod
    def from_row(cls, kept: str | None) -> Self:
        """What a row holds. What this version cannot read is as if it had not been chosen: a page must always show."""
        try:
            found = json.loads(kept or "{}")
            form = {**asdict(cls()), **found}
            ticked = {name: "on" for name in ("reader", "guard") if form[name] is True}
            return cls.from_form({name: str(form[name]) for name in ("theme", "font", "size")} | ticked)
        except (ValueError, TypeError, BadInput):
            return cls()

    def as_row(self) -> str:
        return json.dumps(asdict(self))
