"""Codes are made on a thread, one at a time, and only once."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.fakes.running import SAFETY_S, asyncio_test
from voicepool.workers import verification
from voicepool.workers.dave.codes import VerificationPair
from voicepool.workers.verification import Verifier

PAIR = VerificationPair(1, b"our key", 2, b"their key")


class Making:
    """Stands in for the computing: on which threads it ran, and when it may end."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.threads: list[threading.Thread] = []
        self.at_once = 0
        self.most_at_once = 0
        self.begun = threading.Event()
        self.may_end = threading.Event()
        making = self

        def code(pair: VerificationPair) -> str:
            return making._make(pair)

        patch.setattr(VerificationPair, "code", code)

    def _make(self, pair: VerificationPair) -> str:
        self.threads.append(threading.current_thread())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.begun.set()
        assert self.may_end.wait(SAFETY_S)
        self.at_once -= 1
        return f"code of {pair.remote_user_id}"


@asyncio_test
async def test_a_code_is_what_the_pair_says() -> None:
    verifier = Verifier()
    assert await verifier.code(PAIR) == PAIR.code()
    verifier.close()


@asyncio_test
async def test_the_loop_goes_on_while_a_code_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    making = Making(monkeypatch)
    verifier = Verifier()
    asked = asyncio.create_task(verifier.code(PAIR))
    await asyncio.to_thread(making.begun.wait, SAFETY_S)
    assert not asked.done()
    making.may_end.set()
    assert await asked == "code of 2"
    assert threading.current_thread() not in making.threads
    verifier.close()
    assert not making.threads[0].is_alive()


@asyncio_test
async def test_codes_are_made_one_at_a_time_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    making = Making(monkeypatch)
    making.may_end.set()
    verifier = Verifier()
    pairs = [VerificationPair(1, b"our key", user, b"their key") for user in range(2, 8)]
    codes = await asyncio.gather(*(verifier.code(pair) for pair in pairs))
    assert codes == [f"code of {user}" for user in range(2, 8)]
    assert await verifier.code(pairs[0]) == "code of 2"
    assert (len(making.threads), making.most_at_once) == (6, 1)
    verifier.close()


@asyncio_test
async def test_the_codes_kept_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "CODES_KEPT", 2)
    making = Making(monkeypatch)
    making.may_end.set()
    verifier = Verifier()
    for user in (2, 3, 2, 4, 2, 3):
        await verifier.code(VerificationPair(1, b"our key", user, b"their key"))
    # 3 was forgotten for 4, and 2 never was.
    assert len(making.threads) == 4
    assert len(verifier._codes) == 2
    verifier.close()


def test_a_verifier_that_was_never_asked_has_no_thread() -> None:
    before = threading.active_count()
    verifier = Verifier()
    assert threading.active_count() == before
    verifier.close()
