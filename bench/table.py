"""Small tables of numbers, as text."""

from __future__ import annotations

from collections.abc import Sequence


class Table:
    def __init__(self, title: str, head: Sequence[str]) -> None:
        self.title, self.rows, self.notes = title, [tuple(head)], list[str]()

    def add(self, *cells: str) -> None:
        self.rows.append(cells)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def __str__(self) -> str:
        """Markdown, so that it can go into docs/performance.md as it is."""
        widths = [max(len(row[column]) for row in self.rows) for column in range(len(self.rows[0]))]
        lines = [
            "| "
            + " | ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            + " |"
            for row in self.rows
        ]
        rule = (
            "|"
            + "|".join(
                "-" * (width + 2) if column == 0 else "-" * (width + 1) + ":" for column, width in enumerate(widths)
            )
            + "|"
        )
        return "\n".join([f"### {self.title}", "", lines[0], rule, *lines[1:], "", *self.notes])


def quantile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
