"""What the `piccolo` command reads. The Hub itself puts its own engine here before it migrates (app/db/database.py)."""

from piccolo.conf.apps import AppRegistry

from app.db.engine import HubEngine
from app.settings import Settings

DB = HubEngine(Settings.from_env().database_url)
APP_REGISTRY = AppRegistry(apps=["app.db.piccolo_app"])
