"""Which guild and which worker a log line of the bot's side is about, as attributes of its record.

Every line of ours that is about a call or a worker names it in its text, as "guild 123" or "worker w0.2".
`name_subjects` has the record carry the same as `guild` and `worker`, both text or None, so that formatters
find them there: ids of guilds are text, since they are beyond what many readers of JSON hold exactly.
"""

from __future__ import annotations

import logging
import re
from typing import Final

__all__ = ["LOGGERS", "SubjectFilter", "name_subjects"]

LOGGERS: Final = (
    "voicepool.config",
    "voicepool.connection",
    "voicepool.hikari",
    "voicepool.link",
    "voicepool.player",
    "voicepool.pool",
    "voicepool.worker",
    "voicepool.ytdlp",
)
"""All of ours in the bot's process. A filter of a logger is not asked about its children's lines."""
_GUILD: Final = re.compile(r"\bguild (\d{1,20})\b")
_WORKER: Final = re.compile(r"\b(w\d{1,4}\.\d{1,9})\b")


class SubjectFilter(logging.Filter):
    """Lets every line through, and tells its record what it is about."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Set ``guild`` and ``worker`` of a record, unless whoever logged it has."""
        text = record.getMessage()
        for name, pattern in (("guild", _GUILD), ("worker", _WORKER)):
            if not hasattr(record, name):
                found = pattern.search(text)
                setattr(record, name, found[1] if found is not None else None)
        return True


_FILTER: Final = SubjectFilter()


def name_subjects() -> None:
    """Have all our loggers do so. A second time changes nothing."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
