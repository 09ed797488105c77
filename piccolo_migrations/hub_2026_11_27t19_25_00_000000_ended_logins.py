"""What Postgres itself keeps for logins: the announcement of ends, indexes, and one spelling for each e-mail address."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from app.db.tables import Login

ID = "2026-11-27T19:25:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Announce ended logins and tokens; one spelling of e-mail addresses"

# The payload is the id of the login or token.
ANNOUNCE = """
CREATE FUNCTION hub_announce_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('hub_logins', OLD.id::text);
  RETURN NULL;
END $$
"""

# As app.accounts.service.clean_email does. An account whose other spelling is taken stays as it is, for an administrator.
ONE_SPELLING = """
UPDATE users u SET email = lower(normalize(email, NFKC))
WHERE email ~ '[^\\x01-\\x7f]' AND email <> lower(normalize(email, NFKC))
  AND NOT EXISTS (SELECT 1 FROM users o WHERE o.id <> u.id
                  AND lower(normalize(o.email, NFKC)) = lower(normalize(u.email, NFKC)))
"""

FORWARDS = (
    ANNOUNCE,
    """CREATE TRIGGER hub_announce_end_of_login AFTER UPDATE OF ended_at ON logins FOR EACH ROW
       WHEN (OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL) EXECUTE FUNCTION hub_announce_end()""",
    """CREATE TRIGGER hub_announce_deleted_login AFTER DELETE ON logins FOR EACH ROW
       WHEN (OLD.ended_at IS NULL) EXECUTE FUNCTION hub_announce_end()""",
    """CREATE TRIGGER hub_announce_revoked_token AFTER DELETE ON api_tokens FOR EACH ROW
       EXECUTE FUNCTION hub_announce_end()""",
    """CREATE INDEX logins_of_user ON logins ("user")""",
    """CREATE INDEX guests ON users (guest_from) WHERE email IS NULL AND deleted_at IS NULL""",
    ONE_SPELLING,
)

BACKWARDS = (
    "DROP INDEX guests",
    "DROP INDEX logins_of_user",
    "DROP TRIGGER hub_announce_revoked_token ON api_tokens",
    "DROP TRIGGER hub_announce_deleted_login ON logins",
    "DROP TRIGGER hub_announce_end_of_login ON logins",
    "DROP FUNCTION hub_announce_end",
)


async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="hub", description=DESCRIPTION)

    async def run():
        for statement in FORWARDS:
            await Login.raw(statement.replace("{", "{{").replace("}", "}}"))

    async def run_backwards():
        for statement in BACKWARDS:
            await Login.raw(statement)

    manager.add_raw(run)
    manager.add_raw_backwards(run_backwards)
    return manager
