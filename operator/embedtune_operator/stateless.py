"""Kopf's stores with nothing in them, since the operator has no handlers that use them.

Kopf's own copy every object that is heard of, to tell what has changed since it was last handled:
a sixth of the operator's processor time with many jobs (docs/scale.md).
"""

import kopf


class NoDiffs(kopf.DiffBaseStorage):
    """Nothing of an object is remembered, so nothing has changed."""

    def build(self, **_: object) -> kopf.BodyEssence:
        """Nothing."""
        return kopf.BodyEssence({})

    def fetch(self, **_: object) -> kopf.BodyEssence | None:
        """Nothing."""
        return None

    def store(self, **_: object) -> None:
        """Nowhere."""


class NoProgress(kopf.ProgressStorage):
    """No handler has a state of its own."""

    def fetch(self, **_: object) -> None:
        """Nothing."""

    def store(self, **_: object) -> None:
        """Nowhere."""

    def purge(self, **_: object) -> None:
        """There is nothing."""

    def touch(self, **_: object) -> None:
        """There is nothing."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """What was given."""
        return essence
