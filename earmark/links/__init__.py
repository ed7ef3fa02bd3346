"""Links between machines: which client keys may connect to what this one binds, and what each of them may do."""
