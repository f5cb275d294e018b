"""The voice gateway: the websocket on which a call is made, kept alive and ended.

Read the files in this order. `opcodes` has the numbers and what a close means; `payloads` the JSON bodies;
`states` the one transition table; `events` what the outside is told; `incoming` reads what the server sends;
`protocol` is the client without any I/O, driven by its caller's clock; `connection` is the websocket around
it.
"""

from __future__ import annotations

__all__: list[str] = []
