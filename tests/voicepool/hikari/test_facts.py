"""What is said before a join when the bot does not run, has other shards, or caches nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from voicepool.errors import JoinError
from voicepool.hikari.facts import check_admission, check_bot, facts

GUILD = 3 << 22


def bot(*, alive: bool = True, shards: tuple[int, ...] = (0,), shard_count: int = 1) -> Any:
    nothing = SimpleNamespace(get_guild=lambda _id: None, get_guild_channel=lambda _id: None)
    return SimpleNamespace(
        is_alive=alive,
        voice=SimpleNamespace(is_alive=alive),
        shards=dict.fromkeys(shards),
        shard_count=shard_count,
        cache=nothing,
    )


def test_a_bot_that_runs_and_has_the_shard_passes() -> None:
    check_bot(bot(), GUILD, 5)
    check_bot(bot(shards=(1,), shard_count=2), GUILD, 5)


def test_a_bot_that_does_not_run_is_told() -> None:
    with pytest.raises(JoinError, match=f"guild {GUILD}, channel 5: the bot does not run") as caught:
        check_bot(bot(alive=False), GUILD, 5)
    assert caught.value.reason == "bot"


def test_a_bot_that_is_still_starting_has_no_shards_yet() -> None:
    with pytest.raises(JoinError, match="wait for StartedEvent") as caught:
        check_bot(bot(shards=(), shard_count=0), GUILD, 5)
    assert caught.value.reason == "bot"


def test_a_guild_of_another_process_is_told() -> None:
    with pytest.raises(JoinError, match=r"on shard 1, this process has \[0\]") as caught:
        check_bot(bot(shard_count=2), GUILD, 5)
    assert caught.value.reason == "shard"


def test_without_a_cache_nothing_is_known_and_nothing_refused() -> None:
    assert facts(bot(), GUILD, 5) == (None, None)
    check_admission(bot(), GUILD, 5)
