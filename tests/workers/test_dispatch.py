"""Commands in, answers out: each request is answered exactly once, whatever it asks for."""

from __future__ import annotations

import msgspec
import pytest

from tests.fakes.running import asyncio_test
from tests.workers.dispatch_bench import Bench, dispatching
from tests.workers.hand_studio import packet
from voicepool.ipc.commands import (
    ChangeTrack,
    Command,
    Encoding,
    Pause,
    Ping,
    Play,
    ReportStats,
    Resume,
    Seek,
    ServerGone,
    SetEncoding,
    Setup,
    SetVolume,
    Shutdown,
    Skip,
    Stop,
    StreamAudio,
    WorkerSettings,
)
from voicepool.ipc.errors import ErrorCode
from voicepool.ipc.events import (
    CallOpened,
    Done,
    EndReason,
    Failed,
    ServerWanted,
    TrackEnded,
    TrackReady,
    TrackStarted,
    VerificationCode,
)
from voicepool.ipc.ids import CallId, PlaybackId, RequestId, StreamId
from voicepool.ipc.sources import StreamSource
from voicepool.workers.audio.playback import Playback
from voicepool.workers.dave.codes import VerificationPair
from voicepool.workers.errors import SourceError
from voicepool.workers.player import Player


def gain_of(bench: Bench) -> float:
    """How loud the one call plays."""
    [playing] = bench.hand.encoders.submitted
    assert isinstance(playing, Playback)
    return playing.gain


# The answers.


@asyncio_test
async def test_a_call_is_opened_played_in_stopped_and_closed() -> None:
    async with dispatching() as bench:
        opened = await bench.answer(bench.open(generation=7))
        assert isinstance(opened, CallOpened)
        assert (opened.call, opened.generation) == ("call", 7)
        assert bench.calls == ["call"]
        started = await bench.answer(bench.play("song"))
        assert isinstance(started, TrackReady)
        assert (started.call, started.playback, started.info.title) == ("call", "song", "Song")
        await bench.hand.tick(2)
        request = bench.stop()
        assert await bench.answer(request) == Done(request=RequestId(request))
        assert bench.of(TrackEnded)[0].frames_sent == 2
        request = bench.close_call()
        assert await bench.answer(request) == Done(request=RequestId(request))
        assert bench.calls == []
        kinds = [type(event) for event in bench.hand.events]
        assert kinds == [CallOpened, TrackReady, TrackStarted, TrackEnded, Done, Done]


@asyncio_test
async def test_what_needs_a_call_fails_without_one() -> None:
    async with dispatching() as bench:
        assert await bench.failure(bench.play()) is ErrorCode.NO_SUCH_CALL
        assert await bench.failure(bench.stop()) is ErrorCode.NO_SUCH_CALL


@asyncio_test
async def test_closing_what_is_gone_is_done() -> None:
    async with dispatching() as bench:
        assert isinstance(await bench.answer(bench.close_call()), Done)


@asyncio_test
async def test_intentions_reach_their_call_and_are_not_answered() -> None:
    async with dispatching() as bench:
        bench.open()
        await bench.answer(bench.play("song"))
        call = CallId("call")
        bench.send(Pause(call=call))
        await bench.hand.settle()
        await bench.hand.tick(10)
        assert bench.script.attempts[0].sent.count(packet("song 0")) == 0
        bench.send(SetVolume(call=call, volume=0.5))
        bench.send(Resume(call=call))
        await bench.hand.settle()
        await bench.hand.tick(1)
        assert bench.script.attempts[0].sent[-1] == packet("song 0")
        assert gain_of(bench) == 0.5
        assert [type(event) for event in bench.hand.events] == [CallOpened, TrackReady, TrackStarted]


@asyncio_test
async def test_commands_that_come_together_are_begun_in_their_order() -> None:
    async with dispatching() as bench:
        call = CallId("call")
        # To a call that does not exist yet, and to one that has other credentials yet.
        for generation in (1, 2):
            bench.open(generation=generation)
            bench.send(ServerGone(call=call, generation=generation))
        bench.open(generation=3)
        # Says itself how loud it is to be, and that it is not held.
        request = bench.play("song")
        bench.send(SetVolume(call=call, volume=0.5))
        bench.send(Pause(call=call))
        assert isinstance(await bench.answer(request), TrackReady)
        await bench.hand.tick(10)
        assert packet("song 0") not in bench.script.attempts[-1].sent
        assert [event.generation for event in bench.of(ServerWanted)] == [1, 2]
        assert gain_of(bench) == 0.5
        # To a call that is about to end.
        bench.close_call()
        bench.send(ServerGone(call=call, generation=3))
        await bench.hand.settle()
        assert len(bench.of(ServerWanted)) == 2


@asyncio_test
async def test_an_intention_that_breaks_ends_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with dispatching() as bench:
        await bench.answer(bench.open())
        await bench.answer(bench.play("song"))

        def break_off(_: Player) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(Player, "pause", break_off)
        bench.send(Pause(call=CallId("call")))
        bench.send(SetVolume(call=CallId("call"), volume=0.5))
        await bench.hand.settle()
        assert gain_of(bench) == 0.5
        assert "a Pause failed inside voicepool" in caplog.text
        assert "ZeroDivisionError" in caplog.text


@asyncio_test
async def test_what_changes_a_track_is_answered_once_each() -> None:
    async with dispatching() as bench:
        await bench.answer(bench.open())
        await bench.answer(bench.play("song"))
        call, song = CallId("call"), PlaybackId("song")
        good: list[Command] = [
            Seek(request=RequestId(50), call=call, playback=song, position_s=1.0),
            ChangeTrack(request=RequestId(51), call=call, playback=song, volume=0.5),
            Skip(request=RequestId(52), call=call, playback=PlaybackId("another")),
        ]
        for command in good:
            assert isinstance(await bench.answer(bench.send(command)), Done)
        for command in (
            Seek(request=RequestId(60), call=call, playback=PlaybackId("another"), position_s=1.0),
            ChangeTrack(request=RequestId(61), call=call, playback=PlaybackId("another")),
            Skip(request=RequestId(62), call=call, playback=song),
        ):
            assert await bench.failure(bench.send(command)) is ErrorCode.NO_SUCH_TRACK
        for command in good:
            lost = msgspec.structs.replace(command, request=RequestId(70), call=CallId("gone"))
            bench.send(lost)
        await bench.hand.settle()
        assert [event.error.code for event in bench.of(Failed)[3:]] == [ErrorCode.NO_SUCH_CALL] * 3


@asyncio_test
async def test_pushed_audio_and_another_encoding_reach_their_call_and_are_not_answered() -> None:
    async with dispatching() as bench:
        await bench.answer(bench.open())
        call, stream = CallId("call"), StreamId("s")
        request = bench.send(
            Play(
                request=RequestId(50),
                call=call,
                playback=PlaybackId("pushed"),
                source=StreamSource(stream, "opus"),
            )
        )
        await bench.hand.settle()
        for name in (call, CallId("gone")):
            bench.send(SetEncoding(call=name, encoding=Encoding(bitrate_bps=16_000)))
            command = StreamAudio(call=name, stream=stream, ends=True)
            bench.dispatcher.handle(command, [packet("pushed 0"), packet("pushed 1")])
        assert isinstance(await bench.answer(request), TrackReady)
        await bench.hand.tick(10)
        assert bench.script.attempts[0].sent[:2] == [packet("pushed 0"), packet("pushed 1")]
        assert [event.reason for event in bench.of(TrackEnded)] == [EndReason.FINISHED]
        assert bench.of(Failed) == []


@asyncio_test
async def test_intentions_for_a_call_that_is_gone_are_dropped() -> None:
    async with dispatching() as bench:
        call = CallId("gone")
        for command in (Pause(call=call), Resume(call=call), SetVolume(call=call, volume=0.5)):
            bench.send(command)
        await bench.hand.settle()
        assert bench.hand.events == []


@asyncio_test
async def test_a_ping_is_answered_at_once() -> None:
    async with dispatching() as bench:
        bench.send(Ping(request=RequestId(5)))
        assert bench.hand.events == [Done(request=RequestId(5))]


@asyncio_test
async def test_what_the_worker_does_itself_is_handed_on(caplog: pytest.LogCaptureFixture) -> None:
    async with dispatching() as bench:
        bench.send(ReportStats(request=RequestId(5)))
        bench.send(Shutdown())
        bench.send(Setup(settings=WorkerSettings()))
        assert (bench.stats_asked, bench.shut_downs) == ([5], 1)
        assert "second Setup" in caplog.text
        assert bench.hand.events == []


@asyncio_test
async def test_a_source_that_cannot_be_played_fails_its_own_request_only() -> None:
    async with dispatching() as bench:
        bench.open()
        await bench.answer(bench.play("good"))
        bench.hand.opener.sources["bad"] = SourceError(ErrorCode.SOURCE_NOT_FOUND, "no such file")
        assert await bench.failure(bench.play("bad")) is ErrorCode.SOURCE_NOT_FOUND
        await bench.hand.tick(20)
        assert [(event.playback, event.reason) for event in bench.of(TrackEnded)] == [
            ("good", EndReason.FINISHED)
        ]


@asyncio_test
async def test_a_defect_of_ours_is_an_answer_and_a_traceback_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with dispatching() as bench:
        bench.open()
        bench.hand.opener.sources["odd"] = ZeroDivisionError("oops")
        answer = await bench.answer(bench.play("odd"))
        assert isinstance(answer, Failed)
        assert answer.error.code is ErrorCode.INTERNAL
        assert "ZeroDivisionError" in answer.error.text
        assert "Traceback" in caplog.text
        assert isinstance(await bench.answer(bench.play("fine")), TrackReady)


# Servers that go, members that are verified.


@asyncio_test
async def test_a_server_that_is_gone_reaches_its_call_unless_it_is_history() -> None:
    async with dispatching() as bench:
        await bench.answer(bench.open(generation=2))
        bench.send(ServerGone(call=CallId("call"), generation=1))
        bench.send(ServerGone(call=CallId("gone"), generation=1))
        await bench.hand.settle()
        assert bench.of(ServerWanted) == []
        bench.send(ServerGone(call=CallId("call"), generation=2))
        await bench.hand.settle()
        assert bench.of(ServerWanted) == [ServerWanted(call=CallId("call"), generation=2, rejoin=False)]
        assert isinstance(await bench.answer(bench.open(generation=3)), CallOpened)


@asyncio_test
async def test_a_code_is_made_of_the_keys_or_as_the_library_gives_it() -> None:
    async with dispatching() as bench:
        await bench.answer(bench.open())
        pair = VerificationPair(3, b"our key", 11, b"their key")
        bench.script.attempts[0].verification_of |= {11: pair, 12: "2" * 45}
        for user, code in ((11, pair.code()), (12, "2" * 45)):
            request = bench.verify(user)
            [answer] = await bench.wait_for_answers(request)
            assert answer == VerificationCode(request=RequestId(request), code=code)


@asyncio_test
async def test_who_cannot_be_verified_is_told_why() -> None:
    async with dispatching() as bench:
        assert await bench.failure(bench.verify(11)) is ErrorCode.NO_SUCH_CALL
        await bench.answer(bench.open())
        bench.send(ServerGone(call=CallId("call"), generation=1))
        assert await bench.failure(bench.verify(11)) is ErrorCode.UNVERIFIABLE


@asyncio_test
async def test_a_playback_is_stopped_by_its_name() -> None:
    async with dispatching() as bench:
        await bench.answer(bench.open())
        await bench.answer(bench.play("song"))
        request = bench.send(Stop(request=RequestId(99), call=CallId("call"), playback=PlaybackId("another")))
        assert await bench.answer(request) == Done(request=RequestId(99))
        assert bench.of(TrackEnded) == []
        request = bench.send(Stop(request=RequestId(98), call=CallId("call"), playback=PlaybackId("song")))
        await bench.answer(request)
        assert [event.playback for event in bench.of(TrackEnded)] == ["song"]
