"""The websocket around `protocol`: asyncio and the websockets library, nothing of the rules.

One task per connection does everything in turn: it tells the session what happened, sends what is to be
sent, then waits for the next frame, the next deadline, or someone's wish, whichever comes first. So frames
are never sent from two places, and what ends the task ends the connection.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.errors import CallError
from voicepool.workers.gateway.endpoint import Endpoint, parse_endpoint
from voicepool.workers.gateway.events import GatewayClosed, GatewayEvent, Skipped
from voicepool.workers.gateway.opcodes import OurCloseCode
from voicepool.workers.gateway.protocol import VoiceGatewayProtocol
from voicepool.workers.nobody import tell_nobody
from voicepool.workers.once import LogOnce

__all__ = ["MESSAGE_MAX_BYTES", "VoiceGateway"]

MESSAGE_MAX_BYTES: Final = 1 << 20
"""A larger frame ends the connection with 1009; those of Discord have some kilobytes at most."""
_QUEUED_FRAMES: Final = 64
_ABNORMAL: Final = 1006
_REASON_CHARS: Final = 120

_LOGGER: Final = logging.getLogger("voicepool.gateway")
_WEBSOCKET_LOGGER: Final = logging.getLogger("voicepool.gateway.websocket")
# At DEBUG the library logs the frames, and so the token; the level set here holds whatever the root's is.
_WEBSOCKET_LOGGER.setLevel(logging.WARNING)
_SKIPPED: Final = LogOnce(_LOGGER)


class VoiceGateway:
    """One websocket to a voice server, from `open` to `GatewayClosed`.

    Parameters
    ----------
    endpoint
        ``host``, ``host:port``, or either with ``wss://`` in front. The port is kept.
    protocol
        The state of this websocket; used by nobody else.
    ssl_context
        For the server's certificate. None is for a plain ``ws://`` endpoint only.
    on_event
        Called from the loop with each event but `Skipped`, in order; must not block. `GatewayClosed` comes
        exactly once after a successful `open`, as the last event.
    open_timeout_s
        For TCP, TLS and the websocket upgrade together.
    send_timeout_s
        How long the server may refuse to take a frame before the connection counts as lost.
    close_timeout_s
        How long the server may take to answer our closing.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        protocol: VoiceGatewayProtocol,
        ssl_context: ssl.SSLContext | None,
        on_event: Callable[[GatewayEvent], None],
        open_timeout_s: float = 10.0,
        send_timeout_s: float = 5.0,
        close_timeout_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoint_text = endpoint
        self._protocol = protocol
        self._ssl_context = ssl_context
        self._on_event = on_event
        self._open_timeout_s = open_timeout_s
        self._send_timeout_s = send_timeout_s
        self._close_timeout_s = close_timeout_s
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._goodbye: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._opened = False
        self._closed = False
        self._waiting: asyncio.Timeout | None = None
        self._wanted = False

    def __repr__(self) -> str:
        return f"<VoiceGateway {self._protocol!r}>"

    @property
    def protocol(self) -> VoiceGatewayProtocol:
        """The state machine, for its counters, `last_seq` and `rtt_s`."""
        return self._protocol

    async def open(self) -> None:
        """Connect, send IDENTIFY or RESUME, and begin to deliver events. Called once.

        Raises
        ------
        CallError
            ``CONNECT_REFUSED``, ``CONNECT_TIMEOUT`` or ``CERTIFICATE``. No event comes then.
        """
        if self._opened:
            raise RuntimeError("a VoiceGateway is opened once; make a new one for the next connection")
        self._opened = True
        endpoint = parse_endpoint(self._endpoint_text)
        websocket = await self._connect(endpoint)
        if self._closed:
            websocket.transport.abort()
            await websocket.wait_closed()
            raise CallError(
                ErrorCode.SUPERSEDED, f"the call to {endpoint.server} was ended while connecting."
            )
        self._protocol.connection_opened(self._clock())
        self._task = asyncio.create_task(self._run(websocket), name=f"voice gateway {endpoint.server}")

    def select_protocol(self, address: str, port: int, mode: str) -> None:
        """Answer READY; see `VoiceGatewayProtocol.select_protocol`."""
        self._protocol.select_protocol(address, port, mode, self._clock())
        self._wake()

    def set_speaking(self, flags: int, ssrc: int) -> None:
        """Send SPEAKING; see `VoiceGatewayProtocol.set_speaking`."""
        self._protocol.set_speaking(flags, ssrc)
        self._wake()

    def send_dave(self, frame: str | bytes) -> None:
        """Send a message of the end-to-end encryption; see `VoiceGatewayProtocol.send_dave`."""
        self._protocol.send_dave(frame)
        self._wake()

    async def close(self, code: int = OurCloseCode.NORMAL) -> None:
        """Send what is still to be sent, close, and return when `GatewayClosed` has been delivered.

        Takes ``send_timeout_s + close_timeout_s`` at most. May be called again, and before or during `open`;
        cannot be awaited by ``on_event``.
        """
        self._opened = self._closed = True
        task = self._task
        if task is not None:
            self._protocol.close(code)
            self._wake()
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                task.cancel()
                raise
        self._task, self._on_event = None, tell_nobody

    async def wait_until_leaving(self) -> None:
        """Return when our close frame is written, or nothing more will be: once `close` was called."""
        if self._task is not None:
            await asyncio.wait({self._goodbye, self._task}, return_when=asyncio.FIRST_COMPLETED)

    async def _connect(self, endpoint: Endpoint) -> ClientConnection:
        server = endpoint.server
        if endpoint.secure is not (self._ssl_context is not None):
            raise CallError(
                ErrorCode.CONNECT_REFUSED,
                f"the voice endpoint {server} must be wss:// with a TLS context: "
                "the token is not sent in the clear.",
            )
        try:
            return await connect(
                endpoint.url,
                # Given apart as well, so that a redirect cannot lead the token to another host.
                host=endpoint.host,
                port=endpoint.port,
                ssl=self._ssl_context,
                proxy=None,
                compression=None,
                # The gateway has heartbeats of its own.
                ping_interval=None,
                open_timeout=self._open_timeout_s,
                close_timeout=self._close_timeout_s,
                max_size=MESSAGE_MAX_BYTES,
                max_queue=_QUEUED_FRAMES,
                logger=_WEBSOCKET_LOGGER,
            )
        except TimeoutError:
            raise CallError(
                ErrorCode.CONNECT_TIMEOUT,
                f"the voice server {server} did not answer within {self._open_timeout_s:g} s. "
                "Join again for another one, or raise the connect timeout in the config.",
                step="websocket",
            ) from None
        except ssl.SSLCertVerificationError as error:
            raise CallError(
                ErrorCode.CERTIFICATE,
                f"the TLS certificate of {server} does not verify: {error.verify_message}. "
                "If it is a server of your own, name its authority in the config's ca_file.",
            ) from None
        except ssl.SSLError as error:
            raise _refused(server, f"TLS failed, {error.reason or 'no reason given'}") from None
        except InvalidStatus as error:
            raise _refused(server, f"HTTP status {error.response.status_code}") from None
        except OSError as error:
            raise _refused(server, error.strerror or str(error)) from None
        except (WebSocketException, ValueError) as error:
            raise _refused(server, str(error)) from None

    async def _run(self, websocket: ClientConnection) -> None:
        own_reason = ""
        try:
            while await self._settle(websocket):
                frame = await self._next_frame(websocket)
                now = self._clock()
                if isinstance(frame, str):
                    self._protocol.receive_text(frame, now)
                elif frame is not None:
                    self._protocol.receive_binary(frame, now)
                # After every frame, so that a server which never pauses cannot put heartbeats off.
                self._protocol.tick(now)
            # The frame is written before `close` waits for anything.
            asyncio.get_running_loop().call_soon(self._note_goodbye)
            await websocket.close(self._protocol.closing() or OurCloseCode.NORMAL)
        except ConnectionClosed:
            pass  # how it closed is read below, the same for every way out
        except TimeoutError:
            own_reason = f"the server took no frame for {self._send_timeout_s:g} s"
        except asyncio.CancelledError:
            own_reason = "the worker dropped the connection"
            raise
        except Exception:
            own_reason = "internal error, see the worker's log"
            _LOGGER.exception("the voice gateway to %s failed", self._protocol.server)
        finally:
            # After an orderly close this does nothing; otherwise there is no time for manners.
            websocket.transport.abort()
            try:
                await websocket.wait_closed()
            finally:
                code, reason, by_us = (_ABNORMAL, own_reason, True) if own_reason else _how_closed(websocket)
                self._protocol.connection_lost(code, reason, self._clock(), by_us=by_us)
                self._deliver()

    def _note_goodbye(self) -> None:
        if not self._goodbye.done():
            self._goodbye.set_result(None)

    async def _settle(self, websocket: ClientConnection) -> bool:
        """Carry out what the protocol wants after each input; False once it wants to close."""
        self._wanted = False
        self._deliver()
        await self._flush(websocket)
        return self._protocol.closing() is None

    async def _flush(self, websocket: ClientConnection) -> None:
        frames = self._protocol.outgoing()
        if not frames:
            return
        async with asyncio.timeout(self._send_timeout_s):
            for frame in frames:
                await websocket.send(frame)

    def _deliver(self) -> None:
        for event in self._protocol.events():
            if isinstance(event, GatewayClosed):
                _LOGGER.debug(
                    "voice gateway %s closed: code %s, by us: %s", event.server, event.code, event.by_us
                )
            if isinstance(event, Skipped):
                server = self._protocol.server
                _SKIPPED.info(event.what, "voice server %s sent %s; skipped", server, event.what)
                continue
            try:
                self._on_event(event)
            except Exception:
                # The listener's defect must not take the connection's bookkeeping down with it.
                _LOGGER.exception("a listener of the voice gateway failed on %s", type(event).__name__)

    async def _next_frame(self, websocket: ClientConnection) -> str | bytes | None:
        """Wait for a frame; None if a deadline or a wish of ours came first."""
        deadline = self._protocol.next_deadline()
        delay_s = None if deadline is None else max(0.0, deadline - self._clock())
        if self._wanted:
            return None
        try:
            async with asyncio.timeout(delay_s) as self._waiting:
                return await websocket.recv()
        except TimeoutError:
            return None
        finally:
            self._waiting = None

    def _wake(self) -> None:
        """Have the task look at the protocol now instead of at the next frame."""
        self._wanted = True
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time())


def _refused(server: str, why: str) -> CallError:
    text = f"no connection to the voice server {server}: {why[:_REASON_CHARS]}. Join again for another one."
    return CallError(ErrorCode.CONNECT_REFUSED, text)


def _how_closed(websocket: ClientConnection) -> tuple[int, str, bool]:
    """Return close code, reason and whether we began it, from the frames that were exchanged."""
    closed = websocket.protocol.close_exc
    frame = closed.rcvd or closed.sent
    if frame is None:
        return _ABNORMAL, "", False
    by_us = closed.rcvd is None or closed.rcvd_then_sent is False
    return frame.code, frame.reason, by_us
