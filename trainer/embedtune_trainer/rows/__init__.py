"""Data files as rows: what is written in them, checked to the last cell."""
