"""`DiscordVoiceServer`: a stand-in for Discord's voice servers, for tests and benchmarks of voice clients."""

from __future__ import annotations

__all__ = ("DiscordVoiceServer",)

import asyncio
import logging
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Literal, Self

from websockets.asyncio.server import ServerConnection, serve

from voicepool.testing.certificates import CertificateAuthority
from voicepool.testing.dave_calls import DaveCalls, DaveOptions
from voicepool.testing.dave_messages import DaveMessage
from voicepool.testing.dave_rules import MAX_VERSION
from voicepool.testing.voice_crypto import ALL_MODES
from voicepool.testing.voice_directory import VoiceDirectory
from voicepool.testing.voice_fault_orders import FaultOrders
from voicepool.testing.voice_faults import CUT, Faults, check_close_code
from voicepool.testing.voice_gateway import GatewayLink
from voicepool.testing.voice_guests import Guests
from voicepool.testing.voice_places import VoicePlaces
from voicepool.testing.voice_rtp import DISCOVERY_BYTES, discovery_response, parse_discovery
from voicepool.testing.voice_session import VoiceSession
from voicepool.testing.voice_settings import LISTENER_USER_ID, VoiceServerSettings
from voicepool.testing.voice_udp import VoiceUdp
from voicepool.testing.voice_waiting import Conditions

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path
    from types import TracebackType

    from websockets.asyncio.server import Server


MAX_VIOLATIONS: Final = 1_000
MAX_OPCODES: Final = 10_000
_CLOSE_TIMEOUT_S: Final = 2.0
_log = logging.getLogger("voicepool.testing.voice_server")


class DiscordVoiceServer(VoicePlaces, FaultOrders):
    """A voice server on the loopback: TLS websocket gateway version 8, and UDP.

    It checks its clients strictly. A protocol error closes the websocket with the documented code and is put
    down as a sentence in `VoiceSession.violations` (in `violations` here, as long as nobody has identified).
    What arrives is measured and kept: `VoiceSession.report`, `VoiceSession.pcm`.

    What can be made to go wrong: `crash` and `recover`, `revoke`, `disconnect`, all of `FaultOrders`, and,
    for one client, ``close``, ``abort``, ``stall`` and ``drop_packets`` of its `VoiceSession`.

    It works in the running event loop, inside ``async with``. Leaving the block closes every websocket with
    1001, every socket, and removes the authority's files if the server made it.

    Parameters
    ----------
    host : str
        IPv4 address to listen on, and to announce for UDP.
    port : int
        TCP port of the gateway; 0 takes a free one.
    modes : Sequence[str]
        Transport modes that Ready offers, in this order.
    authority : CertificateAuthority | None
        Signs the certificate; None makes one for the lifetime of the server.
    tls : ssl.SSLContext | None
        Server context to use instead, for example with a certificate that does not verify.
    heartbeat_interval_ms : float
        What Hello announces.
    heartbeat_timeout_ms : float | None
        A websocket is closed with 4009 when this many milliseconds pass without a heartbeat (or, at first,
        without an Identify). None: twice the interval.
    inspect : {"full", "headers"}
        ``"headers"`` for benchmarks: nothing is decrypted or kept, silence is told by its size.
    keep_audio_s : float
        Seconds of audio to keep a session; the oldest frames go first. 0 keeps none.
    speaking_grace_s : float
        How long audio may run ahead of the opcode 5 that announces it. They travel on different connections,
        so a client that sends both at once is not to blame.
    resume_window_s : float
        How long a session without a websocket waits for a Resume.
    resume_buffer_messages : int
        Numbered messages kept for a Resume; if more were missed it is refused with 4006.
    first_sequence : int
        Number of a session's first numbered message; 65535 shows whether a client survives the wrap to 0.
    dave : bool | {"required"}
        Whether calls are end-to-end encrypted. True: as long as all members of a channel support DAVE; the
        call is downgraded while one does not. ``"required"``: such a client is refused with 4017, as on
        Discord.
    dave_listener_id : int | None
        User id of a member that the server plays in each encrypted call, to decrypt what the clients send. It
        joins with the first client that supports DAVE. None: no such member; encrypted audio is not kept, and
        a client can be alone in its call.
    dave_transition_timeout_s : float
        How long a transition waits for members that do not say that they are ready.
    dave_overlap : bool
        Propose further changes while a transition is pending, so that clients see several pending at once.
    dave_first_transition_id : int
        Id of the first transition of a call; 65535 shows whether a client survives the wrap to 1.

    Raises
    ------
    ValueError
        A setting is out of range; the text names it.

    Examples
    --------
    >>> async with DiscordVoiceServer() as server:
    ...     grant = server.grant(guild_id=1, channel_id=2, user_id=3)
    ...     ...  # let the bot connect with grant.endpoint, grant.token, grant.session_id
    ...     session = await server.wait_for_session(1)
    ...     await session.wait_for_packets(50)
    ...     assert not session.report().problems
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        modes: Sequence[str] = ALL_MODES,
        authority: CertificateAuthority | None = None,
        tls: ssl.SSLContext | None = None,
        heartbeat_interval_ms: float = 13_750.0,
        heartbeat_timeout_ms: float | None = None,
        inspect: Literal["full", "headers"] = "full",
        keep_audio_s: float = 600.0,
        speaking_grace_s: float = 0.25,
        resume_window_s: float = 60.0,
        resume_buffer_messages: int = 256,
        first_sequence: int = 1,
        dave: bool | Literal["required"] = True,
        dave_listener_id: int | None = LISTENER_USER_ID,
        dave_transition_timeout_s: float = 2.0,
        dave_overlap: bool = False,
        dave_first_transition_id: int = 1,
    ) -> None:
        self.settings = VoiceServerSettings(
            host=host,
            port=port,
            modes=tuple(modes),
            heartbeat_interval_ms=heartbeat_interval_ms,
            heartbeat_timeout_ms=heartbeat_timeout_ms,
            inspect=inspect,
            keep_audio_s=keep_audio_s,
            speaking_grace_s=speaking_grace_s,
            resume_window_s=resume_window_s,
            resume_buffer_messages=resume_buffer_messages,
            first_sequence=first_sequence,
            dave=dave,
            dave_listener_id=dave_listener_id,
            dave_transition_timeout_s=dave_transition_timeout_s,
            dave_overlap=dave_overlap,
            dave_first_transition_id=dave_first_transition_id,
        )
        self.faults = Faults()
        self.directory = VoiceDirectory(self.settings, self.record, self._session_ends, self._session_left)
        self.calls = DaveCalls(
            DaveOptions(
                max_version=MAX_VERSION if dave else 0,
                listener_id=dave_listener_id,
                transition_timeout_s=dave_transition_timeout_s,
                overlap=dave_overlap,
                first_transition_id=dave_first_transition_id,
            ),
            deliver=self._deliver,
            complain=self._complain,
            clock=time.monotonic,
            schedule=self._schedule,
        )
        self.guests = Guests(self.directory, self.calls, self._send_datagram)
        self.violations: deque[str] = deque(maxlen=MAX_VIOLATIONS)
        """Rules broken by anyone, in sentences; the last 1,000."""
        self.stray_datagrams = 0
        """Datagrams from addresses that belong to no session."""
        self._authority = authority
        self._own_authority: CertificateAuthority | None = None
        self._tls = tls
        self.opcodes: deque[int] = deque(maxlen=MAX_OPCODES)
        """Opcode of each message that came, from whomever; the last 10,000."""
        self._server: Server | None = None
        self._context: ssl.SSLContext | None = None
        self._links: set[GatewayLink] = set()
        self._udp: VoiceUdp | None = None
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._conditions = Conditions()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen. The same as entering the ``async with`` block.

        Raises
        ------
        RuntimeError
            It was started before.
        OSError
            The address cannot be listened on.
        """
        if self._context is not None:
            msg = "this DiscordVoiceServer was started before; make another one"
            raise RuntimeError(msg)
        try:
            context = self._tls
            if context is None:
                if self._authority is None:
                    self._authority = self._own_authority = CertificateAuthority()
                context = self._authority.server_context(("localhost", self.settings.host))
            self._context = context
            self._udp = VoiceUdp(self.settings.host, self._stray)
            await self._udp.start()
            await self._listen()
        except BaseException:
            await self.close()
            raise

    async def _listen(self) -> None:
        self._server = await serve(
            self._serve,
            self.settings.host,
            self._port,
            ssl=self._context,
            compression=None,
            ping_interval=None,
            close_timeout=_CLOSE_TIMEOUT_S,
            logger=_log,
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]

    async def close(self) -> None:
        """Close everything that is open. Calling it twice is harmless."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        for session in self.directory.live():
            session.end()
        if self._tasks:
            await asyncio.gather(*self._tasks)
        if self._udp is not None:
            self._udp.close()
        self.calls.close()
        if self._own_authority is not None:
            self._own_authority.close()

    # Going down and coming back.

    @property
    def crashed(self) -> bool:
        """Whether it is down: after `crash`, before `recover`."""
        return self._context is not None and self._server is None

    async def crash(self, code: int = CUT, *, keep_sessions: bool = False) -> None:
        """Go down: close every websocket, refuse connections and lose datagrams until `recover`.

        Returns when all that is so. Credentials stay good.

        Parameters
        ----------
        code : int
            Close code for the websockets: 4015 says that the server has crashed. 1006 cuts them without a
            close frame, as a machine that loses its power does.
        keep_sessions : bool
            Whether clients can resume after `recover`; else their sessions have ended.

        Raises
        ------
        RuntimeError
            It is not running, or is down already.
        ValueError
            `code` is no close code.
        """
        if self._server is None or self._udp is None:
            msg = "this DiscordVoiceServer is not running: start it, or let it recover, before it crashes"
            raise RuntimeError(msg)
        check_close_code(code)
        server, self._server = self._server, None
        self._udp.drain_all()
        self._udp.dead = True
        server.close(close_connections=False)
        sessions = self.directory.live()
        await asyncio.gather(*(link.close(code) for link in tuple(self._links)))
        if not keep_sessions:
            for session in sessions:
                session.end()
        await server.wait_closed()
        self.changed()

    async def recover(self) -> None:
        """Take connections at the same address again, after `crash`.

        Raises
        ------
        RuntimeError
            It is not down.
        OSError
            Somebody else has taken the port meanwhile.
        """
        if not self.crashed or self._udp is None:
            msg = "this DiscordVoiceServer is not down: only after `crash` can it recover"
            raise RuntimeError(msg)
        await self._listen()
        # What came while it was down is lost, also what nobody has read yet.
        self._udp.drain_all()
        self._udp.dead = False
        self.changed()

    # Where it is.

    @property
    def endpoint(self) -> str:
        """``host:port`` of the gateway as VOICE_SERVER_UPDATE carries it, without a scheme."""
        return f"{self.settings.host}:{self._port}"

    @property
    def ca_file(self) -> Path:
        """PEM file that clients have to trust.

        Raises
        ------
        RuntimeError
            The server has no authority: it is not started, or was given `tls`.
        """
        if self._authority is None:
            msg = "no certificate authority: start the server first; with `tls=` the caller has it"
            raise RuntimeError(msg)
        return self._authority.ca_file

    @property
    def udp_address(self) -> tuple[str, int]:
        """Address for voice data, as Ready announces it."""
        if self._udp is None:
            msg = "the server is not started"
            raise RuntimeError(msg)
        return self._udp.address

    @property
    def kernel_drops(self) -> int:
        """Datagrams the kernel dropped because this server was too slow: not the client's loss (Linux)."""
        return 0 if self._udp is None else self._udp.kernel_drops

    @property
    def kernel_timestamps(self) -> bool:
        """Whether arrival times are the kernel's, and so free of this process' own delays."""
        return self._udp is not None and self._udp.kernel_timestamps

    # For the server's own parts.

    def route(self, session: VoiceSession, address: tuple[str, int]) -> None:
        """Give datagrams from `address` to `session`."""
        if self._udp is not None:
            self._udp.route(session, address)

    def record(self, sentence: str) -> None:
        """Record a violation."""
        self.violations.append(sentence)
        self.changed()

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Run `work` in a task that `close` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def changed(self) -> None:
        """Let those waiting on the server look again."""
        self._conditions.notify()

    async def _serve(self, websocket: ServerConnection) -> None:
        self._links.add(link := GatewayLink(self, websocket))
        try:
            await link.run()
        finally:
            self._links.discard(link)

    def _session_ends(self, session: VoiceSession) -> None:
        if self._udp is not None:
            # What the client sent before it closed may still lie in the socket.
            self._udp.drain_all()
            self._udp.unroute(session)

    def _send_datagram(self, datagram: bytes, address: tuple[str, int]) -> None:
        if self._udp is not None:
            self._udp.send(datagram, address)

    def _session_left(self, session: VoiceSession) -> None:
        self.calls.disconnect(session.place, session.user_id)

    def _deliver(self, place: tuple[int, int], user_id: int, message: DaveMessage) -> None:
        session = self.directory.member(place, user_id)
        call = self.calls.get(place)
        if session is not None and call is not None:
            session.send_dave(message, call.service.version, call.service.epoch)

    def _complain(self, place: tuple[int, int], user_id: int, sentence: str) -> None:
        session = self.directory.member(place, user_id)
        if session is not None:
            session.violate(sentence)

    def _schedule(self, when: float, callback: Callable[[], None], /) -> asyncio.TimerHandle:
        loop = asyncio.get_running_loop()
        return loop.call_later(when - time.monotonic(), callback)

    def _stray(self, datagram: bytes, address: tuple[str, int]) -> None:
        if len(datagram) != DISCOVERY_BYTES:
            self.stray_datagrams += 1
            return
        ssrc, fault = parse_discovery(datagram)
        session = self.directory.by_ssrc(ssrc)
        if session is None:
            self.stray_datagrams += 1
            self.record(f"an IP discovery packet named SSRC {ssrc}, which no session has")
            return
        if fault is not None:
            session.violate(fault)
            return
        session.discovery_requests += 1
        if self._udp is not None and not self.faults.take_discovery_drop(session.guild_id):
            self._udp.route(session, address)
            self._udp.send(discovery_response(ssrc, *address), address)
        session.changed()
