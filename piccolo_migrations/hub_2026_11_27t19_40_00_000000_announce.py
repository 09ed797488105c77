"""Input is not announced any more: it came every 5 s from each session that is typed in, to every replica."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from app.db.tables import Session

ID = "2026-11-27T19:40:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Announce no input"

# As in 2026-11-24T07:05:00, apart from `last_input_at`. Replicas of the version before hear less and work as before: what
# shows input is looked at once a minute in any case, and deadlines are read every few seconds.
ANNOUNCE = """
CREATE OR REPLACE FUNCTION hub_announce_session() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE row sessions;
BEGIN
  IF TG_OP = 'DELETE' THEN row := OLD; ELSE row := NEW; END IF;
  IF TG_OP = 'UPDATE'
    AND (OLD.name, OLD.wanted, OLD.state, OLD.reason, OLD.detail, OLD.generation, OLD.address{input_before})
      IS NOT DISTINCT FROM
        (NEW.name, NEW.wanted, NEW.state, NEW.reason, NEW.detail, NEW.generation, NEW.address{input_after})
  THEN RETURN NULL; END IF;
  PERFORM pg_notify('hub_sessions', row."user" || ' ' || row.id);
  RETURN NULL;
END $$
"""


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="hub", description=DESCRIPTION)

    async def run():
        await Session.raw(ANNOUNCE.format(input_before="", input_after=""))

    async def run_backwards():
        await Session.raw(ANNOUNCE.format(input_before=", OLD.last_input_at", input_after=", NEW.last_input_at"))

    manager.add_raw(run)
    manager.add_raw_backwards(run_backwards)
    return manager
