"""What runs inside a worker process, started by ``python -m voicepool.workers``; no bot imports it."""
