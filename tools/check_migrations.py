"""Fails when `piccolo migrations new hub --auto` would still find a change to write down.

Compares app/db/tables.py with what the files in piccolo_migrations/ add up to, as Piccolo's command does. Must not
write a file, open a connection or need a database.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
from pathlib import Path

from piccolo.apps.migrations.commands.new import AutoMigrationManager

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from app.db.piccolo_app import APP_CONFIG  # noqa: E402  (the project is no installed package of a tool's)


async def missing() -> list[str]:
    """The statements that a new migration would hold."""
    # "n" answers Piccolo's questions: was a table or column renamed? Whichever it was, something is missing.
    with contextlib.redirect_stdout(io.StringIO()):  # It prints a table of counts as it goes.
        found = await AutoMigrationManager(auto_input="n").get_alter_statements(app_config=APP_CONFIG)
    return [statement for group in found for statement in group.statements]


def main() -> None:
    statements = asyncio.run(missing())
    if statements:
        print(*statements, sep="\n\n", file=sys.stderr)
        sys.exit(
            f"\nThe migrations lack the {len(statements)} change(s) above, made in app/db/tables.py. Write them down:"
            "\n    .venv/bin/piccolo migrations new hub --auto"
        )
    print("Migrations are complete.")


if __name__ == "__main__":
    main()
