import pytest
import torch

from triptych.engine.embeddings import EmbeddingCache


def features(tokens: int = 4) -> torch.Tensor:
    return torch.zeros(tokens, 8)  # 128 bytes for 4 tokens


def test_least_recently_used_features_go_first():
    cache = EmbeddingCache(capacity=2 * features().nbytes)
    cache.put(b"a", features())
    cache.put(b"b", features())
    cache.get(b"a")
    cache.put(b"c", features())
    assert [cache.contains(digest) for digest in (b"a", b"b", b"c")] == [True, False, True]
    cache.check()


def test_pinned_features_stay_and_leave_when_unpinned():
    cache = EmbeddingCache(capacity=features().nbytes)
    cache.pin(b"a")
    cache.put(b"a", features())
    cache.put(b"b", features())
    assert cache.contains(b"a")
    cache.pin(b"b")
    cache.unpin(b"a")
    cache.put(b"b", features())
    cache.check()
    assert not cache.contains(b"a")
    assert cache.contains(b"b")


def test_a_digest_may_be_pinned_before_it_is_encoded():
    cache = EmbeddingCache(capacity=0)
    cache.pin(b"a")
    cache.put(b"a", features())
    assert cache.contains(b"a")
    cache.unpin(b"a")
    assert not cache.contains(b"a")
    assert cache.nbytes == 0


def test_replacing_features_counts_their_bytes_once():
    cache = EmbeddingCache(capacity=10_000)
    cache.put(b"a", features(4))
    cache.put(b"a", features(8))
    assert cache.nbytes == features(8).nbytes


def test_unpinning_what_is_not_pinned_is_a_bug_and_says_so():
    with pytest.raises(ValueError, match="not pinned"):
        EmbeddingCache(0).unpin(b"a")
