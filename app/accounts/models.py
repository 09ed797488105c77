"""What a user is to the rest of the Hub. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from app.accounts.preferences import Preferences


@dataclass(frozen=True, slots=True)
class Account:
    """A row of `users`, without the password's hash."""

    id: UUID
    email: str | None
    admin: bool
    has_password: bool
    login_epoch: int
    created_at: datetime
    seen_at: datetime
    preferences: Preferences = field(default_factory=Preferences)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Account:
        return cls(
            id=row["id"],
            email=row["email"],
            admin=row["admin"],
            has_password=row["password_hash"] is not None,
            login_epoch=row["login_epoch"],
            created_at=row["created_at"],
            seen_at=row["seen_at"],
            preferences=Preferences.from_row(row["preferences"]),
        )

    @property
    def last_seen(self) -> datetime | None:
        """When the person was there last; None for one who never was. (A new row says the moment in which it was made.)"""
        return self.seen_at if self.seen_at > self.created_at else None

    @property
    def guest(self) -> bool:
        return self.email is None

    @property
    def label(self) -> str:
        return self.email or "Guest"
