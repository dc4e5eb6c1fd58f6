"""Data files as records: a module for each format."""
