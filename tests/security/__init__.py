"""Those who should get nothing: strangers on the machine, readers of logs and process lists, bad media."""
