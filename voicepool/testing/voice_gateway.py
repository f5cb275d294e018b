"""One websocket of the voice gateway: reads, checks, answers and times out its client.

Order of a session: Hello, Identify, Ready, Select Protocol, Session Description, then Speaking and
heartbeats; or Hello, Resume, Resumed. What comes at the wrong time is a `Refusal`, like what comes in a
wrong form.
"""

from __future__ import annotations

__all__ = ("GatewayLink", "Host")

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, Protocol
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import broadcast
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from voicepool.testing.dave_messages import (
    DaveBinary,
    DaveMessage,
    DaveOpcode,
    DaveText,
    parse_transition_id,
)
from voicepool.testing.voice_crypto import transport_mode
from voicepool.testing.voice_faults import CUT
from voicepool.testing.voice_messages import (
    CloseCode,
    Opcode,
    Refusal,
    decode,
    encode,
    parse_heartbeat,
    parse_identify,
    parse_resume,
    parse_select_protocol,
    parse_speaking,
)

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Coroutine

    from websockets.asyncio.server import ServerConnection

    from voicepool.testing.dave_calls import DaveCalls
    from voicepool.testing.voice_directory import VoiceDirectory
    from voicepool.testing.voice_faults import Faults
    from voicepool.testing.voice_guests import Guests
    from voicepool.testing.voice_session import VoiceSession
    from voicepool.testing.voice_settings import VoiceServerSettings

GATEWAY_VERSION: Final = 8
MAX_UNSENT_BYTES: Final = 1_048_576
"""A client that leaves more than this unread is cut off; its session can be resumed."""

_EXPERIMENTS: Final = ("fixed_keyframe_interval",)
_READY_HEARTBEAT_INTERVAL_MS: Final = 1
_BEFORE_IDENTIFY: Final = frozenset({Opcode.IDENTIFY, Opcode.RESUME})


class _OrderedClose(Exception):  # noqa: N818 -- carries a test's order, nothing failed
    """A test ordered this websocket to be closed."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Host(Protocol):
    """What a websocket needs of its server."""

    settings: VoiceServerSettings
    directory: VoiceDirectory
    calls: DaveCalls
    faults: Faults
    guests: Guests
    opcodes: deque[int]

    @property
    def udp_address(self) -> tuple[str, int]:
        """Address that Ready announces."""

    def route(self, session: VoiceSession, address: tuple[str, int]) -> None:
        """Give datagrams from `address` to `session`."""

    def record(self, sentence: str) -> None:
        """Record a violation that belongs to no session."""

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run in a task that the server ends."""

    def changed(self) -> None:
        """Let those waiting on the server look again."""


class GatewayLink:
    """Serves one websocket from Hello to its close."""

    def __init__(self, host: Host, websocket: ServerConnection) -> None:
        self._host = host
        self._websocket = websocket
        self._session: VoiceSession | None = None
        self._close_code: int | None = None
        self._loop = asyncio.get_running_loop()
        self._last_beat_s = self._loop.time()
        self._watchdog: asyncio.TimerHandle | None = None
        self._handlers: dict[int, Callable[[object], None]] = {
            Opcode.IDENTIFY: self._identify,
            Opcode.SELECT_PROTOCOL: self._select_protocol,
            Opcode.HEARTBEAT: self._heartbeat,
            Opcode.SPEAKING: self._speaking,
            Opcode.RESUME: self._resume,
            Opcode.VIDEO: self._ignore,
        }

    async def run(self) -> None:
        """Serve until the websocket is closed."""
        self._watch_heartbeat()
        try:
            self._check_version()
            if not self._host.faults.muted("hello"):
                interval_ms = float(self._host.settings.heartbeat_interval_ms)
                self.send_message(
                    encode(Opcode.HELLO, {"v": GATEWAY_VERSION, "heartbeat_interval": interval_ms})
                )
            async for message in self._websocket:
                if self._close_code is None:
                    self._receive(message)
        except _OrderedClose as order:
            await self.close(order.code)
        except Refusal as refusal:
            self._record(refusal.sentence)
            await self.close(refusal.code)
        except ConnectionClosed:
            pass
        finally:
            if self._watchdog is not None:
                self._watchdog.cancel()
            self._tell_session()
            self._host.changed()

    # What a session does with its websocket (`GatewayConnection`).

    def send_message(self, message: str | bytes) -> None:
        """Send now; cut the connection if the client has stopped reading."""
        broadcast((self._websocket,), message)
        if self._websocket.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self._record(f"the client left more than {MAX_UNSENT_BYTES} bytes unread")
            self.abort()

    def close_soon(self, code: int) -> None:
        """Begin to close with `code`."""
        self._host.spawn(self.close(code))

    async def close(self, code: int) -> None:
        """Close with `code`, wait until closed and until the session knows."""
        if code == CUT:
            self.abort()
            await self._websocket.wait_closed()
            self._tell_session()
            return
        if self._close_code is None:
            self._close_code = code
        reason = CloseCode(code).reason if code in _CLOSE_CODES else ""
        with contextlib.suppress(ConnectionClosed):
            await self._websocket.close(code, reason)
        self._tell_session()

    def abort(self) -> None:
        """Cut the TCP connection."""
        self._websocket.transport.abort()

    # Messages.

    def _receive(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self._receive_binary(message)
            return
        opcode, data = decode(message)
        self._host.opcodes.append(opcode)
        handler = self._handlers.get(opcode)
        if handler is None:
            if opcode not in _TEXTS:
                self._refuse_opcode(opcode)
            transition_id = parse_transition_id(opcode, data)
            self._receive_dave(DaveText(DaveOpcode(opcode), {"transition_id": transition_id}))
            return
        if self._session is None and opcode not in _BEFORE_IDENTIFY:
            raise Refusal(CloseCode.NOT_AUTHENTICATED, f"op {opcode} was sent before Identify")
        if self._session is not None and opcode in _BEFORE_IDENTIFY:
            raise Refusal(CloseCode.ALREADY_AUTHENTICATED, f"op {opcode} was sent a second time")
        handler(data)

    def _receive_binary(self, message: bytes) -> None:
        if not message:
            raise Refusal(CloseCode.FAILED_TO_DECODE, "a binary message was empty; it begins with its opcode")
        if message[0] not in _BINARY:
            self._refuse_opcode(message[0])
        self._host.opcodes.append(message[0])
        self._receive_dave(DaveBinary(DaveOpcode(message[0]), message[1:]))

    def _receive_dave(self, message: DaveMessage) -> None:
        """Take a message of the DAVE protocol, opcodes 21 to 31."""
        if self._session is None:
            raise Refusal(CloseCode.NOT_AUTHENTICATED, f"op {int(message.opcode)} was sent before Identify")
        if not self._host.settings.dave:
            raise Refusal(
                CloseCode.UNKNOWN_OPCODE,
                f"op {int(message.opcode)} was sent; this server was told to hold no encrypted calls",
            )
        self._host.calls.receive(self._session.place, self._session.user_id, message)

    def _refuse_opcode(self, opcode: int) -> NoReturn:
        raise Refusal(CloseCode.UNKNOWN_OPCODE, f"op {opcode} is not known to this server")

    def _identify(self, data: object) -> None:
        identify = parse_identify(data)
        code = self._host.faults.take_identify_close(identify.guild_id)
        if code is not None:
            raise _OrderedClose(code)
        if self._host.settings.dave == "required" and not identify.max_dave_protocol_version:
            channel_id = self._host.directory.grants.admit(identify).channel_id
            if self._host.calls.offers(channel_id):
                raise Refusal(
                    CloseCode.DAVE_REQUIRED,
                    "Identify announced no DAVE support; send `max_dave_protocol_version` 1 and speak DAVE",
                )
        session = self._host.directory.identify(identify, self)
        self._session = session
        if not self._host.faults.muted("ready", session.guild_id):
            address, port = self._host.udp_address
            session.send(
                Opcode.READY,
                {
                    "ssrc": session.ssrc,
                    "ip": address,
                    "port": port,
                    "modes": list(self._host.settings.modes),
                    "experiments": list(_EXPERIMENTS),
                    "streams": [],
                    # Wrong on purpose, as on Discord: the interval to keep is the one in Hello.
                    "heartbeat_interval": _READY_HEARTBEAT_INTERVAL_MS,
                },
            )
        calls, place = self._host.calls, session.place
        listener_id = calls.admit(place, identify.max_dave_protocol_version)
        newly_played = () if listener_id is None else (listener_id,)
        played = (*calls.played(place), *self._host.guests.without_dave(place))
        self._host.directory.introduce(session, played, newly_played)
        self._host.guests.introduce(session)
        calls.connect(place, session.user_id, identify.max_dave_protocol_version)
        if self._host.settings.dave:
            session.media.listen = partial(calls.hear, place, session.user_id)
        self._host.changed()

    def _resume(self, data: object) -> None:
        resume = parse_resume(data)
        code = self._host.faults.take_resume_close(resume.guild_id)
        if code is not None:
            raise _OrderedClose(code)
        session, missed = self._host.directory.resume(resume, self)
        self._session = session
        if not self._host.faults.muted("resumed", session.guild_id):
            self.send_message(encode(Opcode.RESUMED, None))
            for message in missed:
                self.send_message(message)
        self._host.changed()

    def _select_protocol(self, data: object) -> None:
        session = self._identified()
        choice = parse_select_protocol(data)
        mode = transport_mode(choice.mode)
        if mode is None or mode.name not in self._host.settings.modes:
            raise Refusal(
                CloseCode.UNKNOWN_ENCRYPTION_MODE,
                f"Select Protocol chose mode {choice.mode[:64]!r}, which Ready did not offer",
            )
        address = (choice.address, choice.port)
        if session.udp_address is None:
            self._host.route(session, address)
        elif session.udp_address != address:
            session.violate(
                f"Select Protocol gave {choice.address}:{choice.port}, "
                f"IP discovery had answered {session.udp_address[0]}:{session.udp_address[1]}"
            )
        if self._host.faults.muted("session_description", session.guild_id):
            session.announce_key(mode, tell=False)
            return
        self._host.calls.describe(
            session.place,
            session.user_id,
            lambda version: session.announce_key(mode, tell=True, dave_version=version),
        )

    def _heartbeat(self, data: object) -> None:
        session = self._identified()
        beat = parse_heartbeat(data)
        session.acknowledge(beat.seq_ack)
        self._last_beat_s = self._loop.time()
        if not self._host.faults.muted("heartbeat_ack", session.guild_id):
            session.send(Opcode.HEARTBEAT_ACK, {"t": beat.nonce})

    def _speaking(self, data: object) -> None:
        session = self._identified()
        speaking = parse_speaking(data)
        if speaking.ssrc != session.ssrc:
            raise Refusal(
                CloseCode.BAD_REQUEST,
                f"Speaking was for SSRC {speaking.ssrc}; Ready gave this session {session.ssrc}",
            )
        session.speak(speaking.flags)
        self._host.directory.spread_speaking(session)

    def _ignore(self, _data: object) -> None:
        pass

    def _identified(self) -> VoiceSession:
        assert self._session is not None
        return self._session

    def _check_version(self) -> None:
        request = self._websocket.request
        versions = parse_qs(urlsplit(request.path).query).get("v", []) if request is not None else []
        if versions != [str(GATEWAY_VERSION)]:
            asked = versions[0][:16] if versions else "nothing"
            raise Refusal(
                CloseCode.BAD_REQUEST,
                f"the websocket's URL asked for version {asked!r}; append ?v={GATEWAY_VERSION} to it",
            )

    def _watch_heartbeat(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        due_s = self._last_beat_s + self._host.settings.heartbeat_timeout_s
        if due_s > self._loop.time():
            self._watchdog = self._loop.call_at(due_s, self._watch_heartbeat)
            return
        waited_ms = round(self._host.settings.heartbeat_timeout_s * 1_000)
        missing = "Identify" if self._session is None else "heartbeat"
        self._record(f"no {missing} came for {waited_ms} ms")
        self.close_soon(CloseCode.SESSION_TIMEOUT)

    def _tell_session(self) -> None:
        if self._session is None:
            return
        if self._websocket.state is not State.CLOSED:
            self._session.detach(self, sent=self._close_code, received=None)
            return
        end = self._websocket.protocol.close_exc
        # A close frame that only echoes the client's was not the server's choice.
        sent = None if end.sent is None or end.rcvd_then_sent else end.sent.code
        self._session.detach(self, sent=sent, received=None if end.rcvd is None else end.rcvd.code)

    def _record(self, sentence: str) -> None:
        if self._session is None:
            self._host.record(sentence)
        else:
            self._session.violate(sentence)


_CLOSE_CODES: Final = frozenset(CloseCode)
_TEXTS: Final = frozenset({DaveOpcode.READY_FOR_TRANSITION, DaveOpcode.INVALID_COMMIT_WELCOME})
_BINARY: Final = frozenset({DaveOpcode.KEY_PACKAGE, DaveOpcode.COMMIT_WELCOME})
