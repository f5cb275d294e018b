"""What becomes of our frames is told when it changes, and only then."""

from __future__ import annotations

from voicepool.workers.dave.events import EncryptionChanged
from voicepool.workers.dave.frames import FrameSealer
from voicepool.workers.dave.sending import Sending

OPUS = b"some opus"


def encrypt(opus: bytes) -> bytes:
    return opus[::-1]


def test_frames_and_news_follow_what_is_decided() -> None:
    sealer = FrameSealer()
    sending = Sending(sealer)
    sending.pass_through()
    assert sealer.seal(OPUS) == OPUS
    assert sending.news() == EncryptionChanged(protocol_version=0, is_sending=True)
    sending.version = 1
    sending.withhold()
    assert sealer.seal(OPUS) is None
    assert sending.news() == EncryptionChanged(protocol_version=1, is_sending=False)
    sending.encrypt_with(encrypt, 3)
    assert sealer.seal(OPUS) == OPUS[::-1]
    assert sending.group == 3
    assert sending.news() == EncryptionChanged(protocol_version=1, is_sending=True)
    sending.encrypt_with(encrypt, 4)
    assert sending.group == 4
    assert sending.news() is None, "another key is nobody's business"
    sending.withhold()
    assert sending.group is None


def test_what_comes_and_goes_between_two_looks_is_not_told() -> None:
    sending = Sending(FrameSealer())
    sending.version = 1
    sending.withhold()
    sending.news()
    sending.encrypt_with(encrypt, 1)
    sending.withhold()
    assert sending.news() is None
