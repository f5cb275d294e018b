"""Who holds which place."""

from __future__ import annotations

from typing import Any

from voicepool._fleet.leases import Lease, Leases
from voicepool.ipc.ids import CallId, WorkerId

CALL = CallId("a")


class FakeLink:
    """Knows who listens."""

    def __init__(self, name: str) -> None:
        self.worker = WorkerId(name)
        self.listeners: dict[CallId, Any] = {}

    def listen(self, call: CallId, listener: Any) -> None:
        self.listeners[call] = listener

    def unlisten(self, call: CallId) -> None:
        self.listeners.pop(call, None)


def link(name: str) -> Any:
    return FakeLink(name)


def test_a_place_is_taken_and_given_back() -> None:
    leases, at = Leases(), link("w0.1")
    listener: Any = object()
    assert leases.holder(CALL) is None
    leases.take(CALL, Lease(at, since_s=0.0), listener)
    assert leases.holder(CALL) == at
    assert at.listeners == {CALL: listener}
    leases.release(CALL)
    leases.release(CALL)
    assert (leases.holder(CALL), at.listeners, leases.of(at.worker)) == (None, {}, [])


def test_a_reserved_place_counts_and_becomes_the_calls() -> None:
    leases, old, new = Leases(), link("w0.1"), link("w1.1")
    listener: Any = object()
    leases.take(CALL, Lease(old, since_s=0.0), object())  # type: ignore[arg-type]
    lease = Lease(new, since_s=7.0, station="radio")
    leases.reserve(CALL, lease)
    assert leases.of(new.worker) == [lease]
    assert (leases.calls_at(new.worker), leases.calls_at(old.worker)) == (0, 1)
    assert leases.reserved(CALL) == new
    leases.shift(CALL, new, listener)
    assert leases.holder(CALL) == new
    assert leases.of(new.worker) == [lease], "it is still as fresh as it was"
    assert (leases.of(old.worker), leases.reserved(CALL)) == ([], None)
    assert (old.listeners, new.listeners) == ({}, {CALL: listener})


def test_a_reservation_is_given_back_by_cancelling_and_with_the_call() -> None:
    leases, new = Leases(), link("w1.1")
    leases.cancel(CALL)
    for give_back in (leases.cancel, leases.release):
        leases.reserve(CALL, Lease(new, since_s=0.0))
        give_back(CALL)
        assert leases.of(new.worker) == []


def test_a_call_is_shifted_to_where_nothing_was_reserved_any_more() -> None:
    leases, new = Leases(), link("w1.1")
    leases.reserve(CALL, Lease(link("w2.1"), since_s=0.0))
    leases.shift(CALL, new, object())  # type: ignore[arg-type]
    assert leases.holder(CALL) == new


def test_a_place_is_fresh_until_reports_can_know_of_it() -> None:
    leases, at = Leases(), link("w0.1")
    lease = Lease(at, since_s=10.0)
    leases.take(CALL, lease, object())  # type: ignore[arg-type]
    assert leases.fresh(at.worker, 10.0) == [lease]
    assert leases.fresh(at.worker, 12.9) == [lease]
    assert leases.fresh(at.worker, 13.0) == []
