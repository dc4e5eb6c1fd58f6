"""The cache takes the newest word of each object, whatever order it comes in."""

from embedtune_operator.cache import Cache
from tests.operator.objects import CHILD, CHILD_UID, UID, child, pod, stored


def test_older_word_is_no_news() -> None:
    cache = Cache()
    assert cache.put_child(child(failed=1, version=21))
    assert not cache.put_child(child(failed=0, version=20))
    held = cache.child_of(UID, CHILD)
    assert held is not None
    assert held.failed == 1


def test_a_new_version_in_which_nothing_that_counts_has_changed_is_no_news() -> None:
    cache = Cache()
    assert cache.put_child(child(version=20))
    assert not cache.put_child(child(version=21))
    held = cache.child_of(UID, CHILD)
    assert held is not None
    assert held.id.resource_version == 21
    assert cache.put_child(child(version=22, deletionTimestamp="2026-11-24T12:00:00Z"))
    assert cache.put_child(child(("Complete", ""), version=23))


def test_deleted_object_does_not_come_back_from_a_late_listing() -> None:
    cache = Cache()
    cache.put_child(child())
    assert cache.remove_child(CHILD_UID) is not None
    assert not cache.put_child(child(version=99))
    assert cache.child_of(UID, CHILD) is None


def test_deletion_may_be_seen_before_the_object() -> None:
    cache = Cache()
    assert cache.remove_job(UID) is None
    assert not cache.put_job(stored())
    assert cache.jobs.get(UID) is None


def test_pods_come_oldest_first() -> None:
    cache = Cache()
    for second in ("05", "01", "03"):
        cache.put_pod(pod(name=second, created=f"2026-11-24T12:00:{second}Z"))
    assert [p.id.name for p in cache.pods_of(UID)] == ["01", "03", "05"]
    cache.remove_pod("uid-of-03")
    assert [p.id.name for p in cache.pods_of(UID)] == ["01", "05"]


def test_what_a_listing_did_not_show() -> None:
    cache = Cache()
    cache.put_pod(pod(name="a"))
    cache.put_pod(pod(name="b"))
    began = cache.pods.sequence
    cache.put_pod(pod(name="b"))
    cache.put_pod(pod(name="c"))
    assert [p.id.name for p in cache.pods.unseen_since(began)] == ["a"]
