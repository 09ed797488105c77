"""The fake runtime keeps the contract, so that what is tested on it holds for the real ones."""

from __future__ import annotations

import pytest
from contract import RuntimeContract
from fake import FakeRuntime

from app.runtimes.base import Observed, RunSpec


class FakeHarness:
    def __init__(self) -> None:
        self.runtime = FakeRuntime()

    def restarted(self) -> FakeRuntime:
        return FakeRuntime(self.runtime.world)

    async def quit(self, seen: Observed, spec: RunSpec) -> None:
        self.runtime.quit(seen.run)


class TestFakeRuntime(RuntimeContract):
    @pytest.fixture
    def harness(self) -> FakeHarness:
        return FakeHarness()
