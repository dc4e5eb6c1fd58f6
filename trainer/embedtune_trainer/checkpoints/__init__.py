"""The training put away as it goes on, and taken up again where it stood.

`state` says what there is to save, `tree` and `files` how it is written down, `identity` which run
it is of, `writer` writes in the background, and `keeper` is what the training talks to.
"""
