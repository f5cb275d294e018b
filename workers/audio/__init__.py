"""Audio inside a worker: reading media with FFmpeg's libraries, and Opus with libopus."""
