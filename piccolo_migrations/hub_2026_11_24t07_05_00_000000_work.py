"""What Postgres itself keeps for the lifecycle manager: the announcement of changes and the index of due work."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from app.db.tables import Session

ID = "2026-11-24T07:05:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Announce changes of sessions; index the work that is due"

# The payload is `<user> <session>`. Leases and due times are left out: they are the managers' own bookkeeping.
ANNOUNCE = """
CREATE FUNCTION hub_announce_session() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE row sessions;
BEGIN
  IF TG_OP = 'DELETE' THEN row := OLD; ELSE row := NEW; END IF;
  IF TG_OP = 'UPDATE'
    AND (OLD.name, OLD.wanted, OLD.state, OLD.reason, OLD.detail, OLD.generation, OLD.address, OLD.last_input_at)
      IS NOT DISTINCT FROM
        (NEW.name, NEW.wanted, NEW.state, NEW.reason, NEW.detail, NEW.generation, NEW.address, NEW.last_input_at)
  THEN RETURN NULL; END IF;
  PERFORM pg_notify('hub_sessions', row."user" || ' ' || row.id);
  RETURN NULL;
END $$
"""

FORWARDS = (
    ANNOUNCE,
    """CREATE TRIGGER hub_announce_session AFTER INSERT OR UPDATE OR DELETE ON sessions
       FOR EACH ROW EXECUTE FUNCTION hub_announce_session()""",
    """CREATE INDEX sessions_due ON sessions (due_at) WHERE due_at IS NOT NULL OR lease_by IS NOT NULL""",
    """CREATE INDEX sessions_of_user ON sessions ("user", created_at)""",
    """CREATE INDEX sessions_live ON sessions (state) WHERE state NOT IN ('stopped', 'failed')""",
    """CREATE INDEX login_links_expiry ON login_links (expires_at)""",
    """CREATE INDEX api_tokens_of_user ON api_tokens ("user")""",
)

BACKWARDS = (
    "DROP INDEX api_tokens_of_user",
    "DROP INDEX login_links_expiry",
    "DROP INDEX sessions_live",
    "DROP INDEX sessions_of_user",
    "DROP INDEX sessions_due",
    "DROP TRIGGER hub_announce_session ON sessions",
    "DROP FUNCTION hub_announce_session",
)


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="hub", description=DESCRIPTION)

    async def run():
        for statement in FORWARDS:
            await Session.raw(statement.replace("{", "{{").replace("}", "}}"))

    async def run_backwards():
        for statement in BACKWARDS:
            await Session.raw(statement)

    manager.add_raw(run)
    manager.add_raw_backwards(run_backwards)
    return manager
