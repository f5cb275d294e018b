"""What a program sends, decoded, is what was asked for, also when that changes after it was made."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from tests.workers.audio.media_files import signal
from tests.workers.audio.shaped import packets_of
from tests.workers.audio.stage import CAPACITY, END, Stage, error_db, music, volume_to
from voicepool.workers.audio.ducking import Duck
from voicepool.workers.audio.frame import FRAME_SAMPLES, SILENCE, Mark, Note
from voicepool.workers.audio.gain import GainEnvelope
from voicepool.workers.audio.mixer import Mixer
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.opus_decoder import Decoder
from voicepool.workers.audio.program import SAFE_FRAMES, Program
from voicepool.workers.audio.readahead import NOT_YET, NotYet
from voicepool.workers.audio.warming import SETTLING_FRAMES


def song(seconds: float) -> list[bytes]:
    return packets_of(signal(seconds=seconds).astype(np.float32))


def test_one_track_is_heard_and_ends() -> None:
    stage, frames = Stage(), music(60)
    stage.add(stage.feed(frames))
    stage.send_all()
    assert len(stage.sent) == 61
    assert stage.sent[-1] is SILENCE
    assert stage.reported == 1
    assert error_db(stage.heard(), np.concatenate(frames)[: 60 * FRAME_SAMPLES - 312]) < -15.0


def test_a_change_of_volume_is_heard_after_the_safe_frames_and_no_frame_is_lost() -> None:
    stage, frames = Stage(), music(60)
    track = stage.add(stage.feed(frames))
    stage.send(30)
    stage.program.change(lambda _: track.gain.set_volume(0.1))
    stage.send_all()
    assert len(stage.sent) == 61
    # The ramp begins with the first frame that is made again, and takes one.
    changed = 30 + SAFE_FRAMES
    expected = [frame.copy() for frame in frames]
    expected[changed] *= np.linspace(1.0, 0.1, FRAME_SAMPLES, dtype=np.float32)[:, np.newaxis]
    expected[changed + 1 :] = [frame * np.float32(0.1) for frame in expected[changed + 1 :]]
    heard = stage.heard()
    whole = np.concatenate(expected)
    before, after = changed * FRAME_SAMPLES, (changed + 1) * FRAME_SAMPLES
    assert error_db(heard[:before], whole[:before]) < -15.0
    assert error_db(heard[before:after], whole[before:after]) < -8.0
    assert error_db(heard[after + FRAME_SAMPLES : -FRAME_SAMPLES], whole[after + FRAME_SAMPLES :]) < -12.0


def test_many_changes_leave_position_and_gain_right() -> None:
    stage, frames = Stage(), music(100)
    feed = stage.feed(frames)
    track = stage.add(feed)
    numbers = np.random.default_rng(1)
    for _ in range(30):
        stage.send(int(numbers.integers(1, 4)))
        volume = float(numbers.uniform(0.5, 1.0))
        stage.program.change(volume_to(track, volume))
    stage.program.change(lambda _: track.gain.set_volume(1.0))
    sent = len(stage.sent)
    stage.send_all()
    assert len(stage.sent) == 101
    tail = slice((sent + 5) * FRAME_SAMPLES, 99 * FRAME_SAMPLES)
    assert error_db(stage.heard()[tail], np.concatenate(frames)[tail]) < -12.0


def test_packets_pass_through_until_a_change_and_again_after_it() -> None:
    stage, originals = Stage(), song(2.0)
    track = stage.add(stage.feed(originals))
    stage.send(30)
    assert stage.sent == originals[:30]
    stage.program.change(lambda _: track.gain.set_volume(0.5))
    stage.send(30)
    assert stage.sent[: 30 + SAFE_FRAMES] == originals[: 30 + SAFE_FRAMES]
    assert all(a != b for a, b in zip(stage.sent[32:60], originals[32:60], strict=True))
    stage.program.change(lambda _: track.gain.set_volume(1.0))
    stage.send_all()
    # A ramp, frames to settle, and the rest as it was, each in its own place: nothing lost, nothing shifted.
    settled = 60 + SAFE_FRAMES + 1 + SETTLING_FRAMES
    assert stage.sent[settled - 1] != originals[settled - 1]
    assert stage.sent[settled:100] == originals[settled:]
    reference, out = Decoder(), np.empty((FRAME_SAMPLES, 2), dtype=np.float32)
    whole = []
    for packet in originals:
        reference.decode_float(packet, out)
        whole.append(out.copy())
    expected = np.concatenate(whole)[312:]
    heard = stage.heard()
    for first, last, gain, bound_db in ((0, 31, 1.0, -100.0), (35, 59, 0.5, -12.0), (63, 98, 1.0, -15.0)):
        part = slice(first * FRAME_SAMPLES, last * FRAME_SAMPLES)
        assert error_db(heard[part], expected[part] * np.float32(gain)) < bound_db


def test_a_track_that_joins_is_mixed_in_soon() -> None:
    stage, first, second = Stage(), music(60), music(20, seed=0.5)
    stage.add(stage.feed(first))
    stage.send(20)
    stage.program.change(lambda mixer: mixer.add(stage.feed(second)))
    stage.send_all()
    begin = (20 + SAFE_FRAMES) * FRAME_SAMPLES
    expected = np.concatenate(first)
    expected[begin : begin + 20 * FRAME_SAMPLES] += np.concatenate(second)
    assert len(stage.sent) == 61
    part = slice(begin + FRAME_SAMPLES, begin + 19 * FRAME_SAMPLES)
    assert error_db(stage.heard()[part], expected[part]) < -12.0


def test_a_track_that_had_ended_too_early_to_be_heard_is_ended_again() -> None:
    stage, frames = Stage(), music(20)
    track = stage.add(stage.feed(frames))
    stage.send(15)
    assert stage.program.ended
    assert track.ended
    stage.program.change(lambda _: track.gain.set_volume(0.5))
    stage.fill()
    stage.send_all()
    assert len(stage.sent) == 21
    assert stage.reported == 1


def test_what_is_added_in_the_last_moment_goes_on_after_the_end() -> None:
    stage, first, second = Stage(), music(10), music(10, seed=0.3)
    stage.add(stage.feed(first))
    stage.fill()
    stage.send(4)
    assert stage.program.ended
    stage.program.change(lambda mixer: mixer.add(stage.feed(second)))
    stage.send_all()
    assert stage.sent.count(SILENCE) == 1
    # Both are heard together from the first frame that was made again.
    assert len(stage.sent) == max(10, 4 + SAFE_FRAMES + 10) + 1


def test_a_starving_track_is_waited_for_and_loses_nothing() -> None:
    stage, frames = Stage(), music(6)
    # It is asked twice: for a packet, and for PCM.
    late: list[PcmFrame | NotYet] = [*frames[:3], NOT_YET, NOT_YET, *frames[3:]]
    stage.add(stage.feed(late))
    assert stage.fill() is NOT_YET
    assert len(stage.program.ring) == 3
    stage.send_all()
    assert len(stage.sent) == 7


def test_a_change_that_fails_is_logged_and_the_sound_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.add(stage.feed(music(20)))
    stage.send(3)

    def fail(_: Mixer) -> None:
        raise LookupError("a defect")

    stage.program.change(fail)
    stage.send_all()
    assert len(stage.sent) == 21
    assert "inside voicepool" in caplog.text


@pytest.mark.parametrize("taken", range(CAPACITY + 1))
def test_going_back_is_right_however_much_was_sent_meanwhile(taken: int) -> None:
    stage, frames = Stage(), music(40)
    track = stage.add(stage.feed(frames))
    stage.send(10)
    stage.fill()
    for _ in range(taken):
        item = stage.program.ring.popleft()
        assert isinstance(item, bytes)
        stage.sent.append(item)
    stage.program.change(lambda _: track.gain.set_volume(0.9))
    stage.send_all()
    assert len(stage.sent) == 41


@pytest.mark.parametrize("capacity", [1, SAFE_FRAMES])
def test_a_ring_with_nothing_to_go_back_over_changes_what_comes_next(capacity: int) -> None:
    stage, frames = Stage(capacity=capacity), music(20)
    track = stage.add(stage.feed(frames))
    stage.send(5)
    stage.program.change(lambda _: track.gain.set_volume(0.5))
    stage.send_all()
    assert len(stage.sent) == 21


def test_a_ring_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        Stage(capacity=0)


class Drained(deque[bytes | Mark]):
    """A ring from which the pacing thread takes all there is, as soon as one frame was taken back."""

    def pop(self) -> bytes | Mark:  # type: ignore[override]
        item = super().pop()
        self.clear()
        return item


@pytest.mark.parametrize("sent", [2, 15])
def test_going_back_survives_a_ring_that_runs_empty_meanwhile(sent: int) -> None:
    stage, frames = Stage(), music(20)
    stage.program.frames.queue = Drained()
    track = stage.add(stage.feed(frames))
    stage.send(sent)
    stage.fill()
    made = stage.program.frames.frames_made
    stage.program.go_back()
    assert not stage.program.ring
    stage.program.change(volume_to(track, 0.5))
    # One frame was taken back, or the mark of the end; the others count as sent.
    assert made - stage.program.frames.frames_made <= 1
    stage.send_all()
    assert stage.over


def test_an_end_on_the_border_of_what_is_made_again_is_reported_once() -> None:
    for length in range(3, 14):
        stage, long, short = Stage(), music(40), music(length, seed=0.3)
        track = stage.program.mixer.add(stage.feed(long))
        stage.add(stage.feed(short))
        stage.send(3)
        stage.fill()
        for volume in (0.5, 0.7):
            stage.program.change(volume_to(track, volume))
            stage.fill()
        notes = sum(isinstance(item, Note) for item in stage.program.ring)
        assert stage.reported + notes <= 1
        stage.send_all()
        assert stage.reported == 1, length
        assert len(stage.sent) == 41


def test_an_end_that_was_reached_while_another_track_starves_is_reported_once() -> None:
    for starves_after in range(6, 12):
        stage = Stage()
        starving: list[PcmFrame | NotYet] = [*music(starves_after), *[NOT_YET] * 4, *music(9)]
        track = stage.program.mixer.add(stage.feed(starving))
        stage.add(stage.feed(music(6, seed=0.3)))
        while stage.fill() is not NOT_YET and len(stage.program.ring) < CAPACITY:
            pass
        for volume in (0.5, 0.7):
            stage.program.change(volume_to(track, volume))
            stage.fill()
        for _ in range(12):
            stage.fill()
        stage.send_all()
        assert stage.reported == 1
        assert len(stage.sent) == starves_after + 9 + 1


def test_a_frame_that_is_held_while_another_track_starves_is_not_lost() -> None:
    # The first track's frame 4 is taken and the second has none; the way back leads to before that frame.
    for changes in (1, 2):
        stage, first = Stage(), music(30)
        starving: list[PcmFrame | NotYet] = [*music(4, seed=0.3), NOT_YET, *music(26, seed=0.4)]
        feed = stage.feed(first)
        track = stage.add(feed)
        stage.program.mixer.add(stage.feed(starving))
        assert stage.fill() is NOT_YET
        assert feed.position_frames == 5
        stage.sent += [bytes(stage.program.ring.popleft()) for _ in range(2)]  # type: ignore[arg-type]
        stage.fill()
        for change in range(changes):
            stage.program.change(volume_to(track, 0.5 + change / 10))
            stage.fill()
        assert len(stage.program.ring) == CAPACITY
        assert feed.position_frames == 2 + CAPACITY
        stage.send_all()
        assert len(stage.sent) == 31


def test_pcm_after_packets_is_handed_out_as_early_as_they_are() -> None:
    stage, passed = Stage(), song(1.0)[:20]
    sound = music(20, seed=0.4)
    stage.add(stage.feed([*passed, *sound]))
    stage.send_all()
    assert stage.sent[:20] == passed
    expected = np.concatenate(sound)
    tail = stage.heard()[20 * FRAME_SAMPLES - 312 :]
    shift = slice(2 * FRAME_SAMPLES, 18 * FRAME_SAMPLES)
    assert error_db(tail[shift], expected[shift]) < -12.0


def test_no_buffer_is_made_once_there_are_enough() -> None:
    stage = Stage()
    track = stage.add(stage.feed(music(200)))
    buffers: set[int] = set()
    for turn in range(60):
        stage.program.change(volume_to(track, 0.5 + turn / 200))
        stage.send(2)
        buffers |= {id(made.mixed) for made in stage.program._log._made if made.mixed is not None}
        held = [made for made in stage.program._log._made if made.mixed is not None]
        assert len(held) + len(stage.program._log._spare) <= Program.kept_frames(CAPACITY) + 1
    assert len(buffers) <= Program.kept_frames(CAPACITY) + 1


def test_after_a_failure_it_ends_with_what_there_is_and_nothing_is_made_again() -> None:
    stage = Stage()
    track = stage.add(stage.feed(music(30)))
    stage.send(3)
    stage.program.change(volume_to(track, 0.5))
    stage.program.break_off()
    left = list(stage.program.ring)
    assert left[-2:] == [SILENCE, END]
    stage.program.change(volume_to(track, 0.7))
    assert not stage.program.has_changes
    stage.fill()
    assert list(stage.program.ring) == left


def test_going_back_over_the_end_of_one_that_ducked_others() -> None:
    stage = Stage()
    duck = Duck(duck_db=-12.0)
    track = stage.program.mixer.add(stage.feed(music(20)), duck=duck, gain=GainEnvelope(0.9))
    stage.send(14)
    assert stage.program.ended
    stage.program.change(volume_to(track, 0.5))
    stage.send_all()
    assert len(stage.sent) == 21


def test_what_a_closed_feed_had_is_no_warm_up() -> None:
    stage, passed = Stage(), song(1.0)[:20]
    feed = stage.feed(passed)
    stage.program.mixer.add(feed)
    stage.send(20)
    feed.close()
    stage.program.change(lambda mixer: mixer.add(stage.feed(music(10)), gain=GainEnvelope(0.5)))
    stage.send_all()
    assert len(stage.sent) == 31
