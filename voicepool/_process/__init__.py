"""One worker process, seen from the bot: started, spoken to, looked after, ended, and started again.

A `slot.Slot` is a place that always holds a `worker.Worker`; a `link.Link` is the conversation with it.
What decides (`pulse`, `memory`, `flood`, `health`, `exits`) is pure and takes the time as a parameter.
"""
