"""What voicepool costs and how well it keeps time, measured. Never imported by the package.

``python -m benchmarks --list`` tells what there is; each script answers the one question that its docstring
opens with. How they measure, and why a figure never stands alone:

* Machines differ, and shared ones differ from minute to minute. So each figure stands beside the *bare* cost
  of the same work, measured in the same run, on the same core, just before and after (`benchmarks.bare`).
* The worker is a real one, started by a real pool, and talks to the stand-in for Discord's voice server
  (`benchmarks.rig`). It has the last core of the machine to itself; all else runs on the first.
* CPU times are the worker's own account (`voicepool.ipc.events.Stats`), taken as the difference over a span
  in which nothing starts or ends (`benchmarks.span`).

``chaos``, ``drain`` and ``soak`` are another kind: they measure a whole pool under load, by what listeners in
many guilds receive (`benchmarks.chaos_trace`). They share the machine's cores as a bot does.
"""

from __future__ import annotations

__all__: list[str] = []
