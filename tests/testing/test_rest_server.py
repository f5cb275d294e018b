from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp

from tests.testing.gateway_client import in_loop
from voicepool.testing.fake_discord import FakeDiscord
from voicepool.testing.rest_server import UnknownRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def serve() -> AsyncIterator[tuple[FakeDiscord, aiohttp.ClientSession]]:
    async with FakeDiscord(clock=lambda: 0.0) as fake:
        headers = {"Authorization": f"Bot {fake.token}"}
        async with aiohttp.ClientSession(headers=headers) as http:
            yield fake, http


@in_loop
async def test_any_version_or_none_is_accepted() -> None:
    async with serve() as (fake, http):
        root = fake.rest_url.removesuffix("/v10")
        for prefix in ("", "/v8", "/v10", "/v99"):
            async with http.get(f"{root}{prefix}/users/@me") as response:
                assert response.status == 200
                assert response.content_type == "application/json"
                assert (await response.json())["id"] == str(fake.bot_user_id)
                assert response.headers["X-RateLimit-Limit"] == "50"


@in_loop
async def test_a_wrong_token_is_unauthorized_except_where_none_is_needed() -> None:
    async with serve() as (fake, http):
        for value in ("Bot wrong", fake.token, f"Bearer {fake.token}", ""):
            async with http.get(f"{fake.rest_url}/users/@me", headers={"Authorization": value}) as response:
                assert response.status == 401
                assert await response.json() == {"message": "401: Unauthorized", "code": 0}
        async with http.get(f"{fake.rest_url}/gateway", headers={"Authorization": ""}) as response:
            assert await response.json() == {"url": fake.gateway_url}
        assert fake.unknown_requests == ()


@in_loop
async def test_unknown_routes_are_recorded_without_their_query() -> None:
    async with serve() as (fake, http):
        async with http.get(f"{fake.rest_url}/sticker-packs?token=s3cret") as response:
            assert response.status == 404
            assert await response.json() == {"message": "404: Not Found", "code": 0}
        async with http.delete(f"{fake.rest_url}/users/@me", headers={"Authorization": ""}) as response:
            assert response.status == 405
            assert (await response.json())["code"] == 0
        assert fake.unknown_requests == (
            UnknownRequest(method="GET", path="/sticker-packs", bot_id=fake.bot_user_id),
            UnknownRequest(method="DELETE", path="/users/@me", bot_id=None),
        )


@in_loop
async def test_errors_have_discords_form() -> None:
    async with serve() as (fake, http):
        async with http.get(f"{fake.rest_url}/guilds/1") as response:
            assert response.status == 404
            assert await response.json() == {"message": "Unknown Guild", "code": 10004}
        channel = fake.guilds[0].text_channels[0]
        url = f"{fake.rest_url}/channels/{channel.id}/messages"
        for body in (b"{", b"[]", b"\xff"):
            async with http.post(url, data=body) as response:
                assert response.status == 400
                assert (await response.json())["code"] == 50109


@in_loop
async def test_the_sixth_message_in_a_second_is_rate_limited() -> None:
    async with serve() as (fake, http):
        first, second = fake.guilds[0].text_channels[0], fake.guilds[0].voice_channels[0]
        url = f"{fake.rest_url}/channels/{first.id}/messages"
        statuses = []
        for _ in range(6):
            async with http.post(url, json={"content": "x"}) as response:
                statuses.append(response.status)
                answer = await response.json()
        assert statuses == [200] * 5 + [429]
        assert answer == {
            "message": "You are being rate limited.",
            "retry_after": 1.0,
            "global": False,
        }
        assert response.headers["Retry-After"] == "1.000"
        assert len(fake.messages) == 5
        async with http.post(
            f"{fake.rest_url}/channels/{second.id}/messages", json={"content": "x"}
        ) as response:
            assert response.status == 200


@in_loop
async def test_files_come_as_attachments() -> None:
    async with serve() as (fake, http):
        form = aiohttp.FormData()
        form.add_field("payload_json", '{"content": "listen"}', content_type="application/json")
        form.add_field("files[0]", b"OggS" * 10, filename="call.ogg", content_type="audio/ogg")
        url = f"{fake.rest_url}/channels/{fake.guilds[0].text_channels[0].id}/messages"
        async with http.post(url, data=form) as response:
            assert response.status == 200
            (attachment,) = (await response.json())["attachments"]
            assert (attachment["filename"], attachment["size"]) == ("call.ogg", 40)
        assert fake.messages[0].content == "listen"


@in_loop
async def test_an_answer_without_content_has_none() -> None:
    async with serve() as (fake, http):
        channel = fake.guilds[0].text_channels[0]
        async with http.post(f"{fake.rest_url}/channels/{channel.id}/typing") as response:
            assert response.status == 204
            assert await response.read() == b""
