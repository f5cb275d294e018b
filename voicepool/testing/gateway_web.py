"""The one place that imports aiohttp, so that a missing extra gives one clear sentence."""

from __future__ import annotations

__all__ = ["WSMsgType", "web"]

try:
    from aiohttp import WSMsgType, web
except ModuleNotFoundError as error:
    raise ImportError(
        "voicepool.testing.FakeDiscord needs aiohttp: install it with `pip install 'voicepool[testing]'`"
    ) from error
