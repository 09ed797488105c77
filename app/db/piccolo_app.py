"""Tells Piccolo which tables the app `hub` has and where its migrations are. Nothing else."""

from __future__ import annotations

from pathlib import Path

from piccolo.conf.apps import AppConfig

from app.db.tables import TABLES

APP_CONFIG = AppConfig(
    app_name="hub",
    migrations_folder_path=str(Path(__file__).resolve().parents[2] / "piccolo_migrations"),
    table_classes=list(TABLES),
    migration_dependencies=[],
)
