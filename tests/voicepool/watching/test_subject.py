"""What is seen of a real pool's parts: workers, calls, and what they play."""

from __future__ import annotations

from tests.fakes.pool import credentials, pool_of, until
from tests.fakes.running import asyncio_test
from voicepool import AudioFile
from voicepool._watching.subject import subject_of


@asyncio_test
async def test_there_is_nothing_to_be_seen_of_a_pool_that_does_not_run() -> None:
    pool, _ = pool_of()
    assert subject_of(pool._switchboard) is None
    async with pool:
        assert subject_of(pool._switchboard) is not None
    assert subject_of(pool._switchboard) is None


@asyncio_test
async def test_workers_and_calls_are_those_of_the_pool() -> None:
    pool, _ = pool_of(2)
    async with pool:
        voice = await pool.connect(credentials(5))
        subject = subject_of(pool._switchboard)
        assert subject is not None
        assert [link.worker for link in subject.links] == ["w0.1", "w1.1"]
        assert [info.name for info in subject.infos] == ["w0.1", "w1.1"]
        assert subject.wanted == 2
        assert dict(subject.guilds) == {voice.call_id: 5}


@asyncio_test
async def test_what_plays_is_told_by_its_title_or_the_end_of_its_label() -> None:
    pool, _ = pool_of()
    async with pool:
        voice = await pool.connect(credentials(5))
        subject = subject_of(pool._switchboard)
        assert subject is not None
        [silent] = subject.playing()
        assert (silent.guild, silent.channel, silent.state, silent.label) == (5, 50, "silent", "")
        await voice.start(AudioFile("https://user:secret@site.example/music/song.opus?key=secret"))
        await until(lambda: voice.track is not None)
        [playing] = subject.playing()
        assert (playing.state, playing.label) == ("playing", "song.opus")
        voice.pause()
        assert subject.playing()[0].state == "paused"
