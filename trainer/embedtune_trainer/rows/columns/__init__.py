"""Columns outside Python's heap: in arrays, and in files that are mapped when they are large."""
