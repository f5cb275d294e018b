"""What becomes of the connections of a ZeroMQ socket, to be awaited."""

from __future__ import annotations

from typing import Any

import zmq
import zmq.asyncio

__all__ = ["monitor_of"]


def monitor_of(socket: zmq.Socket[Any], events: int = zmq.EVENT_ALL) -> zmq.asyncio.Socket:
    """Return a socket that tells of these events; to be closed after ``disable_monitor`` of the other."""
    monitor = socket.get_monitor_socket(events)
    assert isinstance(monitor, zmq.asyncio.Socket), "as the context is one of asyncio"
    return monitor
