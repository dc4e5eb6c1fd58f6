"""The trainer: rows -> batches -> embedder -> objective -> step -> evaluation -> artifact.

One linear way leads through it, in `train.run`; every room on it is a module of this package.
"""
