"""Settings: what each may be, where they come from, what is said of wrong ones, and reading them again."""
