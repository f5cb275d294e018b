from __future__ import annotations

import pytest

from voicepool.testing.voice_grant import GrantBook, VoiceGrant
from voicepool.testing.voice_messages import CloseCode, Identify, Refusal, Resume


def identify(grant: VoiceGrant, **changes: object) -> Identify:
    fields: dict[str, object] = {
        "guild_id": grant.guild_id,
        "user_id": grant.user_id,
        "session_id": grant.session_id,
        "token": grant.token,
        "max_dave_protocol_version": 0,
        **changes,
    }
    return Identify(**fields)  # type: ignore[arg-type]


def refused(book: GrantBook, message: Identify | Resume) -> CloseCode:
    with pytest.raises(Refusal) as caught:
        _ = book.admit(message) if isinstance(message, Identify) else book.readmit(message)
    assert message.token not in str(caught.value)
    return caught.value.code


def test_only_what_was_granted_is_admitted() -> None:
    book = GrantBook()
    grant = book.issue("host:1", 1, 2, 3, None)
    assert book.admit(identify(grant)) is grant
    assert book.holds(grant)
    assert refused(book, identify(grant, guild_id=9)) is CloseCode.SERVER_NOT_FOUND
    assert refused(book, identify(grant, user_id=9)) is CloseCode.AUTHENTICATION_FAILED
    assert refused(book, identify(grant, token="gu3ssed")) is CloseCode.AUTHENTICATION_FAILED
    assert refused(book, identify(grant, token="wr\N{LATIN SMALL LETTER O WITH STROKE}ng\ud800")) == 4004
    assert refused(book, identify(grant, session_id="wrong")) is CloseCode.SESSION_INVALID


def test_a_new_grant_voids_the_one_before_and_revoking_voids_all() -> None:
    book = GrantBook()
    old = book.issue("host:1", 1, 2, 3, "session")
    new = book.issue("host:1", 1, 5, 3, "session")
    assert old.token != new.token
    assert refused(book, identify(old)) is CloseCode.AUTHENTICATION_FAILED
    assert refused(book, Resume(1, old.session_id, old.token, -1)) is CloseCode.SESSION_INVALID
    assert book.readmit(Resume(1, new.session_id, new.token, -1)) is new
    book.revoke(1, 3)
    book.revoke(1, 3)
    assert not book.holds(new)
    assert refused(book, identify(new)) is CloseCode.SERVER_NOT_FOUND


def test_secrets_stay_out_of_the_repr() -> None:
    grant = GrantBook().issue("host:1", 1, 2, 3, "sesame")
    assert grant.token not in repr(grant)
    assert "sesame" not in repr(grant)
    assert "host:1" in repr(grant)
