"""What a call plays, as the bot knows it: what was asked for, what the worker says, what another must do."""
