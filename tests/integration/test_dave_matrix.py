"""Who comes to an encrypted call, who goes, and what breaks: our audio is decrypted by all of it.

Each test ends its call by `EncryptedCall.close`: of all packets in it none was lost, sent twice, in the
clear, or under a key that the listener had not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from tests.fakes.dave_stage import BOT, EncryptedCall, Stage
from voicepool import EncryptionChanged
from voicepool.testing.voice_settings import LISTENER_USER_ID

FRIENDS = range(200, 210)
FRIEND = FRIENDS[0]
WITHHELD, SENDING, CLEAR = (1, False), (1, True), (0, True)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage.open() as stage:
        yield stage


@pytest.fixture
def call(stage: Stage) -> Iterator[EncryptedCall]:
    with stage.call(listener=True) as call:
        yield call


@pytest.fixture
def quiet_call(stage: Stage) -> Iterator[EncryptedCall]:
    with stage.call(listener=False) as call:
        yield call


def on_stage(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on the loop that its call lives on."""

    @functools.wraps(test)
    def run(**calls: EncryptedCall) -> None:
        (call,) = calls.values()
        call.run(test(**calls))

    return run


@on_stage
async def test_alone_our_bot_sends_nothing_but_silence(quiet_call: EncryptedCall) -> None:
    call = quiet_call
    await call.join()
    await call.more(lambda: call.session.media.silence_frames)
    assert call.session.media.frames == 0
    assert call.voice.encryption == EncryptionChanged(1, sending=False)
    assert call.modes == [WITHHELD]


@on_stage
async def test_one_listener_hears_all(call: EncryptedCall) -> None:
    await call.join()
    await call.settled()
    assert call.modes[-1] == SENDING
    assert call.dave.listener is not None
    assert call.codes == [call.dave.listener.privacy_code]


@on_stage
async def test_a_second_joins_leaves_and_joins_again(call: EncryptedCall) -> None:
    await call.join()
    await call.settled()
    for _ in range(2):
        call.come(FRIEND)
        await call.settled()
        call.go(FRIEND)
        await call.settled()
    call.come(FRIEND)
    await call.settled()
    assert call.modes == [SENDING]
    assert len(call.codes) == len(set(call.codes)) == 6
    assert call.session.dave_epoch == 6


@on_stage
async def test_the_last_leaves_and_joins_again(quiet_call: EncryptedCall) -> None:
    call = quiet_call
    await call.join()
    for _ in range(2):
        call.listener_comes()
        await call.settled()
        call.listener_goes()
        await call.until(lambda: call.modes[-1] == WITHHELD)
        await call.more(lambda: call.session.media.silence_frames)
        frames = call.session.media.frames
        await call.more(lambda: call.session.media.silence_frames)
        assert call.session.media.frames == frames
        assert call.voice.encryption == EncryptionChanged(1, sending=False)
    call.listener_comes()
    await call.settled()
    assert call.modes == [WITHHELD, SENDING] * 3
    assert len(set(call.codes)) == 3


@on_stage
async def test_ten_join_at_once(call: EncryptedCall) -> None:
    await call.join()
    await call.settled()
    for friend in FRIENDS:
        call.come(friend)
    await call.settled()
    assert call.voice.encryption is not None
    assert call.voice.encryption.members == {BOT, LISTENER_USER_ID, *FRIENDS}
    for friend in FRIENDS:
        call.go(friend)
    await call.settled()
    assert call.modes == [SENDING]


@on_stage
async def test_ten_are_there_before_us(call: EncryptedCall) -> None:
    for friend in FRIENDS:
        call.come(friend)
    await call.join()
    await call.settled()
    assert call.modes[-1] == SENDING


@on_stage
async def test_one_without_dave_takes_the_encryption_away_while_it_is_there(call: EncryptedCall) -> None:
    await call.join()
    await call.settled()
    before = call.codes
    call.come(FRIEND, dave=False)
    await call.until(lambda: call.modes[-1] == CLEAR)
    assert call.voice.encryption == EncryptionChanged(0, sending=True)
    await call.heard()
    call.go(FRIEND)
    await call.settled()
    assert call.modes == [SENDING, CLEAR, SENDING]
    assert set(call.codes[len(before) :]).isdisjoint(before)


@on_stage
async def test_key_packages_are_asked_for_again(call: EncryptedCall) -> None:
    call.come(FRIEND)
    await call.join()
    await call.settled()
    before = call.codes[-1]
    for _ in range(2):
        call.server.renew_dave_group(*call.place)
        await call.until(lambda: call.session.dave_epoch == 1)
        await call.settled()
    assert len(call.codes) >= 3
    assert call.codes.count(before) == 1
    assert call.modes[-1] == SENDING


@on_stage
async def test_a_commit_that_is_damaged(call: EncryptedCall) -> None:
    await call.join()
    await call.settled()
    call.server.spoil_dave(BOT, "commit")
    call.come(FRIEND)
    await call.until(lambda: call.dave.service.counts.invalid_reports == 1)
    await call.settled()
    assert call.modes[0] == call.modes[-1] == SENDING
    assert call.dave.service.counts.invalid_reports == 1


@on_stage
async def test_a_welcome_that_is_damaged(call: EncryptedCall) -> None:
    call.come(FRIEND)
    call.server.spoil_dave(BOT, "welcome")
    await call.join()
    await call.settled()
    assert call.dave.service.counts.invalid_reports == 1
    assert call.modes[-1] == SENDING


@on_stage
async def test_what_a_broken_websocket_missed_comes_after_the_resume(call: EncryptedCall) -> None:
    await call.join()
    await call.settled()
    call.session.abort()
    call.come(FRIENDS[0])  # Its proposal is missed,
    await call.settled()
    epoch = call.session.dave_epoch
    call.come(FRIENDS[1])
    await call.until(lambda: call.session.dave_epoch > epoch)
    call.session.abort()  # now the answer to the commit,
    await call.settled()
    transitions = call.session.dave_transitions
    call.come(FRIENDS[2])
    await call.until(lambda: call.session.dave_transitions > transitions)
    call.session.abort()  # and now the execution.
    await call.settled()
    assert call.session.resumes == 3
    assert call.modes == [SENDING]
