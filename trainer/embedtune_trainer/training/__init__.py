"""The training: its loop, its step, and what watches over it."""
