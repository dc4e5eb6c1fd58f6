"""The data sets of bench/quality.py: how both sides train on each, and what judges both."""
