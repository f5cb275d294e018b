"""HTTP around the REST routes: version prefix, token, rate limits, JSON, Discord's form of errors."""

from __future__ import annotations

__all__ = ["RestServer", "UnknownRequest"]

import re
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from voicepool.testing.gateway_web import web
from voicepool.testing.guild_model import next_snowflake
from voicepool.testing.guild_world import Attachment
from voicepool.testing.rest_backend import Call, Reply, RestError
from voicepool.testing.rest_limits import RateLimits
from voicepool.testing.rest_routes import ROUTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from voicepool.testing.guild_model import BotUser
    from voicepool.testing.rest_backend import Backend
    from voicepool.testing.rest_limits import Verdict
    from voicepool.testing.rest_routes import Route

_PREFIX: Final = re.compile(r"/api(?:/v[0-9]+)?(?=/)")
_MAX_UNKNOWN_KEPT: Final = 10_000
_NOBODY: Final = 0
"""Whose rate limit a request without a token counts against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownRequest:
    """A request to a route that the stand-in does not have.

    Attributes
    ----------
    path
        Without the version prefix and without the query string.
    bot_id
        None without a valid token.
    """

    method: str
    path: str
    bot_id: int | None


class RestServer:
    """Answers everything under ``/api``.

    Parameters
    ----------
    backend
        What the routes act on.
    clock
        Seconds, monotonic; rate limits go by it.
    """

    def __init__(self, backend: Backend, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._clock = clock
        self._limits = RateLimits()
        self._unknown: deque[UnknownRequest] = deque(maxlen=_MAX_UNKNOWN_KEPT)

    @property
    def unknown_requests(self) -> tuple[UnknownRequest, ...]:
        """The newest 10,000 requests that no route answered, oldest first."""
        return tuple(self._unknown)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; a request handler of aiohttp."""
        path = _PREFIX.sub("", request.path, count=1)
        bot = self._authenticate(request)
        verdict: Verdict | None = None
        try:
            route, ids = self._find(request.method, path, bot)
            verdict = self._count(route, ids, bot)
            reply = (
                await self._answer(request, route, ids, bot) if verdict.allowed else _rate_limited(verdict)
            )
        except RestError as error:
            reply = Reply(error.status, {"message": error.text, "code": error.code})
        headers = {} if verdict is None else verdict.headers(time.time())
        if reply.body is None:
            return web.Response(status=reply.status, headers=headers)
        body = msgspec.json.encode(reply.body)
        return web.Response(status=reply.status, body=body, content_type="application/json", headers=headers)

    def _authenticate(self, request: web.Request) -> BotUser | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return self._backend.world.bot_of_token(token) if scheme == "Bot" else None

    def _find(self, method: str, path: str, bot: BotUser | None) -> tuple[Route, dict[str, str]]:
        path_is_known = False
        for route in ROUTES:
            ids = route.match(path)
            if ids is not None and route.method == method:
                if bot is None and not route.public:
                    raise RestError(401, 0, "401: Unauthorized")
                return route, ids
            path_is_known = path_is_known or ids is not None
        self._unknown.append(UnknownRequest(method=method, path=path, bot_id=bot.id if bot else None))
        if path_is_known:
            raise RestError(405, 0, "405: Method Not Allowed")
        raise RestError(404, 0, "404: Not Found")

    def _count(self, route: Route, ids: Mapping[str, str], bot: BotUser | None) -> Verdict:
        return self._limits.take(
            f"{route.method} {route.path}",
            bot_id=bot.id if bot else _NOBODY,
            resource=ids.get("guild") or ids.get("channel") or "",
            limit=route.limit,
            now=self._clock(),
        )

    async def _answer(
        self, request: web.Request, route: Route, ids: Mapping[str, str], bot: BotUser | None
    ) -> Reply:
        # A public route has no use for a bot, so that any will do.
        bot = bot or self._backend.world.bots[0]
        body, attachments = await _read_body(request)
        call = Call(
            bot=bot,
            ids={name: bot.id if text == "@me" else int(text) for name, text in ids.items()},
            query=request.query,
            body=body,
            attachments=attachments,
        )
        return route.handler(self._backend, call)


def _rate_limited(verdict: Verdict) -> Reply:
    body = {
        "message": "You are being rate limited.",
        "retry_after": round(verdict.reset_after_s, 3),
        "global": False,
    }
    return Reply(429, body)


async def _read_body(request: web.Request) -> tuple[Mapping[str, Any], tuple[Attachment, ...]]:
    """Read a JSON body, or files beside a ``payload_json`` (API Reference, Uploading Files)."""
    attachments: tuple[Attachment, ...] = ()
    if request.content_type == "multipart/form-data":
        form = await request.post()
        files = [part for part in form.values() if isinstance(part, web.FileField)]
        attachments = tuple(
            Attachment(id=next_snowflake(), filename=part.filename, size_bytes=part.file.seek(0, 2))
            for part in files
        )
        raw = _text_part(form.get("payload_json"))
        for part in files:
            part.file.close()
    else:
        raw = await request.read() or b"{}"
    try:
        return msgspec.json.decode(raw, type=dict[str, Any]), attachments
    except msgspec.DecodeError:
        raise RestError(400, 50109, "The request body contains invalid JSON.") from None


def _text_part(part: str | bytearray | bytes | web.FileField | None) -> bytes:
    # aiohttp decodes parts of type text/* only; one that is marked as JSON comes as bytes.
    if isinstance(part, str):
        return part.encode()
    return bytes(part) if isinstance(part, bytes | bytearray) else b"{}"
