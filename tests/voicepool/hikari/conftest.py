"""Nothing of the adapter outlives its test: no subscription and no lock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from voicepool.hikari import connection, joining
from voicepool.hikari.router import EventRouter


@pytest.fixture(autouse=True)
def nothing_is_kept() -> Iterator[None]:
    yield
    routers = dict(EventRouter._ROUTERS)
    EventRouter._ROUTERS.clear()
    assert routers == {}
    assert len(connection._LOCKS) == len(joining._LOCKS) == 0
