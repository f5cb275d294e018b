from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.dave_call import EncryptedCall
from voicepool.workers.audio.frame import SILENCE
from voicepool.workers.dave.frames import FrameSealer, is_protocol_frame

OPUS = b"some opus"


class PanicException(BaseException):
    """What a panic in a Rust library raises."""


def tag(opus: bytes) -> bytes:
    return b"sealed " + opus


def test_nothing_leaves_until_it_is_said_what_does() -> None:
    sealer = FrameSealer()
    assert sealer.seal(OPUS) is None
    assert (sealer.mode, sealer.withheld) == ("withholding", 1)


def test_the_three_modes() -> None:
    sealer = FrameSealer()
    sealer.pass_through()
    assert (sealer.mode, sealer.seal(OPUS)) == ("plain", OPUS)
    sealer.encrypt_with(tag)
    assert (sealer.mode, sealer.seal(OPUS)) == ("encrypting", b"sealed some opus")
    sealer.withhold()
    assert (sealer.mode, sealer.seal(OPUS)) == ("withholding", None)
    assert (sealer.encrypted, sealer.withheld, sealer.failures) == (1, 1, 0)


@pytest.mark.parametrize("mode", ["pass_through", "withhold", "encrypt"])
def test_silence_leaves_as_it_is_in_every_mode(mode: str) -> None:
    sealer = FrameSealer()
    sealer.encrypt_with(tag) if mode == "encrypt" else getattr(sealer, mode)()
    assert sealer.seal(SILENCE) is SILENCE
    assert (sealer.encrypted, sealer.withheld) == (0, 0)


@pytest.mark.parametrize(
    "error", [ValueError("NotReady"), RuntimeError("Already borrowed"), PanicException()]
)
def test_a_frame_that_cannot_be_encrypted_is_withheld(error: BaseException) -> None:
    def fail(_: bytes) -> bytes:
        raise error

    sealer = FrameSealer()
    sealer.encrypt_with(fail)
    assert sealer.seal(OPUS) is None
    assert (sealer.withheld, sealer.failures) == (1, 1)


def test_what_is_to_end_the_thread_is_not_swallowed() -> None:
    def stop(_: bytes) -> bytes:
        raise SystemExit

    sealer = FrameSealer()
    sealer.encrypt_with(stop)
    with pytest.raises(SystemExit):
        sealer.seal(OPUS)


def test_a_frame_is_under_one_key_while_keys_change() -> None:
    sealer = FrameSealer()
    sealer.withhold()
    stop = threading.Event()
    wrong: list[bytes] = []

    def pace() -> None:
        while not stop.is_set():
            frame = sealer.seal(OPUS)
            if frame is not None and not frame.startswith(b"sealed "):
                wrong.append(frame)

    thread = threading.Thread(target=pace)
    thread.start()
    for _ in range(3_000):
        sealer.encrypt_with(tag)
        sealer.withhold()
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert not wrong


# Around a transport.


def join(header: bytes, frame: bytes) -> bytes:
    return header + b"|" + frame


def test_a_packet_follows_the_mode_from_its_frame_on() -> None:
    sealer = FrameSealer()
    seal = sealer.around(join)
    withheld = b"header|" + SILENCE
    assert seal(b"header", OPUS) == withheld
    sealer.pass_through()
    assert seal(b"header", OPUS) == b"header|some opus"
    sealer.encrypt_with(tag)
    assert seal(b"header", OPUS) == b"header|sealed some opus"
    sealer.withhold()
    assert seal(b"header", OPUS) == withheld
    assert (sealer.encrypted, sealer.withheld, sealer.failures) == (1, 2, 0)


def test_a_frame_that_fails_leaves_as_silence() -> None:
    def fail(_: bytes) -> bytes:
        raise ValueError("NotReady")

    sealer = FrameSealer()
    sealer.encrypt_with(fail)
    assert sealer.around(join)(b"header", OPUS) == b"header|" + SILENCE
    assert (sealer.withheld, sealer.failures) == (1, 1)


@pytest.mark.parametrize("mode", ["pass_through", "withhold", "encrypt"])
def test_silence_reaches_the_transport_as_it_is(mode: str) -> None:
    sealer = FrameSealer()
    sealer.encrypt_with(tag) if mode == "encrypt" else getattr(sealer, mode)()
    assert sealer.around(join)(b"header", SILENCE) == b"header|" + SILENCE
    assert (sealer.encrypted, sealer.withheld) == (0, 0)


def test_what_the_transport_raises_is_no_frame_withheld() -> None:
    def exhausted(header: bytes, frame: bytes) -> bytes:
        raise RuntimeError("nonces are used up")

    sealer = FrameSealer()
    seal = sealer.around(exhausted)
    for choose in (sealer.pass_through, lambda: sealer.encrypt_with(tag)):
        choose()
        with pytest.raises(RuntimeError, match="used up"):
            seal(b"header", OPUS)
    assert sealer.withheld == 0


# The shape of a protocol frame.


def protocol_frame(media: bytes, supplement: bytes, *, size: int | None = None) -> bytes:
    body = bytes(8) + supplement
    return media + body + bytes((len(body) + 3 if size is None else size,)) + b"\xfa\xfa"


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (protocol_frame(b"opus", b"\x01"), True),
        (protocol_frame(b"opus", b"\xff\xff\xff\xff\x0f"), True),
        (protocol_frame(b"opus", b"\x01\x00\x02\x02\x02"), True),
        (protocol_frame(b"", b"\x01"), False),
        (protocol_frame(b"opus", b""), False),
        (protocol_frame(b"opus", b"\x81"), False),
        (protocol_frame(b"opus", b"\xff\xff\xff\xff\x1f"), False),
        (protocol_frame(b"opus", b"\x01\x00"), False),
        (protocol_frame(b"opus", b"\x01\x02\x02\x00\x01"), False),
        (protocol_frame(b"opus", b"\x01\x00\x05"), False),
        (protocol_frame(b"opus", b"\x01", size=11), False),
        (protocol_frame(b"opus", b"\x01", size=200), False),
        (protocol_frame(b"opus", b"\x01")[:-1] + b"\xfb", False),
        (SILENCE, False),
        (b"", False),
        (b"\xfa\xfa", False),
    ],
)
def test_the_shape_of_a_protocol_frame(frame: bytes, *, expected: bool) -> None:
    assert is_protocol_frame(frame) is expected


@given(st.binary(max_size=100))
def test_the_shape_of_any_bytes_can_be_asked(frame: bytes) -> None:
    assert is_protocol_frame(frame) in {True, False}
    assert is_protocol_frame(frame + b"\xfa\xfa") in {True, False}


def test_frames_of_the_library_have_the_shape() -> None:
    call = EncryptedCall()
    bot = call.join(1)
    call.join(2)
    for size in (1, 2, 3, 100, 1_275):
        frame = bot.sealer.seal(bytes(range(256)) * 5 if size > 1_000 else bytes(size))
        assert frame is not None
        assert is_protocol_frame(frame)
