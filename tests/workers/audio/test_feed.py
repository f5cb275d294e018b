"""A feed hands out its frames in order, goes back over the last of them, and decodes without a seam."""

from __future__ import annotations

import numpy as np
import pytest

from tests.workers.audio.media_files import signal
from tests.workers.audio.shaped import Listed, packets_of
from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.feed import Feed
from voicepool.workers.audio.frame import FRAME_SAMPLES
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.opus_decoder import OpusPacketDecoder
from voicepool.workers.audio.packet import PREROLL_PACKETS
from voicepool.workers.audio.readahead import NOT_YET
from voicepool.workers.errors import SourceError

EARLY = 312


def no_decoder() -> OpusPacketDecoder:
    raise AssertionError("nothing here is to be decoded")


def frames_of(count: int) -> list[PcmFrame]:
    return [np.full((FRAME_SAMPLES, 2), number, dtype=np.float32) for number in range(count)]


def numbers(feed: Feed, count: int) -> list[int]:
    found = []
    for _ in range(count):
        frame = feed.next_frame()
        assert isinstance(frame, np.ndarray)
        found.append(int(frame[0, 0]))
    return found


def pcm_feed(source: Listed, *, kept: int = 5) -> Feed:
    return Feed(source, make_decoder=no_decoder, kept_frames=kept, early_samples=EARLY)


def packets(seconds: float = 2.0) -> list[bytes]:
    return packets_of(signal(seconds=seconds).astype(np.float32))


def opus_feed(source: Listed, *, kept: int = 12) -> Feed:
    return Feed(source, make_decoder=OpusPacketDecoder, kept_frames=kept, early_samples=EARLY)


def decoded(sent: list[bytes]) -> PcmFrame:
    decoder, out = OpusPacketDecoder(), np.empty((FRAME_SAMPLES, 2), dtype=np.float32)
    blocks = []
    for packet in sent:
        decoder.decode_float(packet, out)
        blocks.append(out.copy())
    return np.concatenate(blocks)


def test_frames_come_in_order_and_again_after_a_rewind() -> None:
    feed = pcm_feed(Listed(frames_of(30)))
    assert numbers(feed, 20) == list(range(20))
    feed.rewind(5)
    assert feed.position_frames == 15
    assert numbers(feed, 15) == list(range(15, 30))
    assert feed.next_frame() is None
    feed.rewind(3)
    assert numbers(feed, 3) == [27, 28, 29]
    assert feed.next_frame() is None


@pytest.mark.parametrize("frames", [-1, 6])
def test_it_goes_back_no_further_than_it_keeps(frames: int) -> None:
    feed = pcm_feed(Listed(frames_of(30)))
    numbers(feed, 20)
    with pytest.raises(ValueError, match="0 to 5 frames"):
        feed.rewind(frames)


def test_it_keeps_no_more_than_it_must() -> None:
    feed = pcm_feed(Listed(frames_of(1_000)))
    numbers(feed, 1_000)
    assert len(feed._frames) <= 5 + PREROLL_PACKETS


def test_a_source_that_starves_or_fails_says_so_in_its_place() -> None:
    one, two = frames_of(2)
    error = SourceError(ErrorCode.SOURCE_FAILED, "broken")
    feed = pcm_feed(Listed([one, NOT_YET, two, error]))
    assert numbers(feed, 1) == [0]
    assert feed.next_frame() is NOT_YET
    assert numbers(feed, 1) == [1]
    with pytest.raises(SourceError, match="broken"):
        feed.next_frame()
    assert feed.next_frame() is None


def test_skipping_leaves_out_what_is_there() -> None:
    feed = pcm_feed(Listed([*frames_of(3), NOT_YET, *frames_of(2)]))
    assert feed.skip(2) == 2
    assert feed.skip(5) == 1
    assert numbers(feed, 1) == [0]
    assert feed.skip(5) == 1


def test_closing_releases_everything_once() -> None:
    source = Listed(packets(0.2))
    feed = opus_feed(source)
    feed.next_frame()
    feed.close()
    feed.close()
    assert source.closed == 1
    assert feed.next_frame() is None
    assert feed.rewindable_frames == 0


def test_packets_pass_as_they_are() -> None:
    sent = packets(0.2)
    feed = opus_feed(Listed(sent))
    passed = []
    while isinstance(packet := feed.peek(), bytes):
        passed.append(packet)
        feed.go_on()
    assert passed == sent
    assert feed.position_frames == len(sent)


def test_a_look_at_the_next_frame_leaves_it_the_next() -> None:
    frames = frames_of(2)
    feed = pcm_feed(Listed(frames))
    assert feed.peek() is feed.peek() is frames[0]
    feed.go_on()
    assert numbers(feed, 1) == [1]
    assert feed.peek() is None


def test_packets_that_could_not_be_decoded_are_counted_wherever_that_was() -> None:
    feed = opus_feed(Listed([b"", b"\xff\xff", b""]))
    assert feed.skipped_packets == 3
    for _ in range(3):
        assert isinstance(feed.next_frame(), np.ndarray)
    assert feed.skipped_packets > 3


def test_decoded_packets_are_early_by_the_lookahead_and_without_a_seam() -> None:
    sent = packets(1.0)
    feed = opus_feed(Listed(sent))
    found = []
    while isinstance(frame := feed.next_frame(), np.ndarray):
        found.append(frame)
    whole = decoded(sent)
    expected = np.concatenate([whole[EARLY:], np.zeros((EARLY, 2), np.float32)])
    np.testing.assert_array_equal(np.concatenate(found), expected)


def test_a_decoder_that_starts_in_mid_stream_is_right_at_once() -> None:
    sent = packets(2.0)
    feed = opus_feed(Listed(sent))
    for _ in range(50):
        assert isinstance(feed.peek(), bytes)
        feed.go_on()
    frame = feed.next_frame()
    assert isinstance(frame, np.ndarray)
    expected = decoded(sent)[50 * FRAME_SAMPLES + EARLY : 51 * FRAME_SAMPLES + EARLY]
    error_db = 10 * np.log10(np.mean((frame - expected) ** 2) / np.mean(expected**2))
    assert error_db < -20.0


def test_what_was_passed_can_be_heard_afterwards() -> None:
    sent = packets(1.0)
    feed, mixed = opus_feed(Listed(sent)), opus_feed(Listed(sent))
    for _ in range(20):
        feed.peek()
        feed.go_on()
    frames = [mixed.next_frame() for _ in range(20)]
    for back in (2, 1):
        heard, expected = feed.heard(back), frames[-back]
        assert isinstance(expected, np.ndarray)
        assert np.mean((heard - expected) ** 2) < 1e-2 * np.mean(expected**2)
    with pytest.raises(ValueError, match="not kept"):
        feed.heard(0)


@pytest.mark.parametrize(("kept", "early"), [(-1, 0), (0, -1), (0, FRAME_SAMPLES + 1)])
def test_wrong_measures_are_refused(kept: int, early: int) -> None:
    with pytest.raises(ValueError, match=r"kept_frames|early_samples"):
        Feed(Listed([]), make_decoder=no_decoder, kept_frames=kept, early_samples=early)
