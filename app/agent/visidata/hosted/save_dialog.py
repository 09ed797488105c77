"""A question on the screen with more than one line, in VisiData's own dialog, which has one line only."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from visidata import AttrDict, EscapeException  # type: ignore[import-not-found]  # In the sessions' Python alone.
from visidata.form import FormCanvas, FormSheet  # type: ignore[import-not-found]

_WIDTH = 70


def ask(vd: Any, facts: Sequence[str], question: str, answers: Sequence[str] = ("yes", "no")) -> str:
    """Show `facts` and `question`; returns the chosen answer. Raises EscapeException for the last one and for Esc.

    Each answer is chosen by its first letter, or by a click.
    """
    if vd.options.confirm.startswith("y"):  # The user has said yes to all questions.
        return answers[0]
    height, columns = vd.scrFull.getmaxyx()
    width = max(20, min(_WIDTH, columns - 8))
    asked = textwrap.wrap(question, width)
    lines = [line for fact in facts for line in textwrap.wrap(fact, width, initial_indent="- ", subsequent_indent="  ")]
    room = max(0, height - len(asked) - 4)  # The question and its answers must be in sight.
    lines = (lines if len(lines) <= room else [*lines[: room - 1], "…"][:room]) + asked
    rows = [AttrDict(x=2, y=0, text=" save ", color="yellow")]
    rows += [AttrDict(x=2, y=number, text=line, color="yellow") for number, line in enumerate(lines, 1)]
    x = 4
    for answer in answers:
        rows.append(AttrDict(x=x, y=len(lines) + 1, text=f" {answer} ", color="black on yellow bold", key=answer[0]))
        x += len(answer) + 5
    rows.append(AttrDict(input="answer", keystrokes=[answer[0] for answer in answers]))
    chosen = FormCanvas(source=FormSheet("save", rows=rows)).run(vd.scrFull) or {}
    for answer in answers[:-1]:
        if chosen.get("answer", "")[:1] == answer[0]:
            return answer
    raise EscapeException("not saved")
