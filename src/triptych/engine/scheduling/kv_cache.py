"""Who owns which KV block, and which full blocks can be used again. No tensors.

A block holds the keys and values of `block_size` consecutive tokens of one sequence. A *full* block is
published under a key that names everything its content depends on: the model and precision (root key), all
tokens before it (parent key), its own tokens, and which slice of which image stands behind its image tokens.
Sequences with the same beginning therefore share blocks. A block that nobody uses any more stays published
until its place is needed; the least recently used goes first, and of one sequence the tail before the head,
because a block is only reachable through the ones before it.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterable
from collections.abc import Sequence as Items
from hashlib import blake2b

from ..errors import MemoryBudgetError
from ..request import ImageSpan
from ..sequence import Sequence

KEY_BYTES = 32
# Free blocks left behind a new run, so that the sequence can grow without leaving its neighbourhood.
GROWTH_BLOCKS = 8


class BlockManager:
    """Hands out KV blocks 0 ... `num_blocks - 1`, counts their users, and finds cached prefixes.

    A block is in exactly one state: used (one or more sequences refer to it), cached (nobody does, but it is
    published), or empty. `root_key` must differ between models, precisions and adapters whose KV differ. With
    `prefix_cache` off nothing is published and nothing is ever found.
    """

    def __init__(
        self, num_blocks: int, block_size: int = 16, root_key: bytes = b"", *, prefix_cache: bool = True
    ) -> None:
        if num_blocks < 1 or block_size < 1:
            raise MemoryBudgetError(
                f"the KV cache needs at least one block of one token, not {num_blocks} of {block_size}; "
                "give it more memory"
            )
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.prefix_cache = prefix_cache
        self._root = blake2b(struct.pack("<q", block_size) + root_key, digest_size=KEY_BYTES).digest()
        self._pack_tokens = struct.Struct(f"<{block_size}q").pack
        self._users = [0] * num_blocks
        self._keys: list[bytes | None] = [None] * num_blocks
        self._published: dict[bytes, int] = {}
        self._unused: OrderedDict[int, None] = OrderedDict()  # published blocks without users, oldest first
        self._empty = bytearray(b"\1" * num_blocks)  # 1 where a block is empty: finding a run is one search
        self._empty_count = num_blocks
        self._cursor = 0
        # Evicting several at a time lets runs form again; in a small pool each cached block is worth more.
        self._evict_batch = max(1, min(GROWTH_BLOCKS, num_blocks // 64))

    # -- how much there is

    @property
    def free_blocks(self) -> int:
        """Blocks that `allocate` can hand out: empty ones, and cached ones, which are then forgotten."""
        return self._empty_count + len(self._unused)

    @property
    def cached_blocks(self) -> int:
        """Published blocks without users."""
        return len(self._unused)

    @property
    def used_blocks(self) -> int:
        return self.num_blocks - self.free_blocks

    @property
    def capacity(self) -> int:
        """Tokens that fit when one sequence has all blocks."""
        return self.num_blocks * self.block_size

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_size)

    # -- taking and giving back

    def allocate(self, count: int, after: int | None = None) -> list[int]:
        """`count` blocks for one writer, adjacent to each other and to block `after` where possible.

        Raises `MemoryBudgetError` when fewer are free; then nothing has changed.
        """
        if count > self.free_blocks:
            raise MemoryBudgetError(
                f"{count} KV blocks wanted and {self.free_blocks} of {self.num_blocks} free; "
                "wait for running sequences to finish or give the KV cache more memory"
            )
        self._evict(count - self._empty_count)
        taken: list[int] = []
        if after is not None:
            self._take(taken, after + 1, self._run_length(after + 1, count))
        while len(taken) < count:
            start, length = self._find_run(count - len(taken))
            self._take(taken, start, length)
        return taken

    def share(self, blocks: Iterable[int]) -> None:
        """Another sequence refers to these published blocks."""
        for block in blocks:
            if self._users[block] == 0:
                del self._unused[block]
            self._users[block] += 1

    def free(self, table: Items[int]) -> None:
        """A sequence no longer refers to the blocks of its table; its tail will be evicted first."""
        for block in reversed(table):
            self._users[block] -= 1
            if self._users[block] == 0:
                if self._keys[block] is None:
                    self._empty[block] = 1
                    self._empty_count += 1
                else:
                    self._unused[block] = None

    def unused(self, blocks: Iterable[int]) -> int:
        """How many of these blocks count as free now and would stop to once shared."""
        return sum(self._users[block] == 0 for block in blocks)

    # -- the prefix cache

    def extend_keys(self, sequence: Sequence, tokens: int) -> None:
        """Compute the keys of the full blocks among the first `tokens` tokens; known ones stay."""
        keys, size = sequence.block_keys, self.block_size
        for index in range(len(keys), tokens // size):
            start = index * size
            digest = blake2b(keys[-1] if keys else self._root, digest_size=KEY_BYTES)
            digest.update(self._pack_tokens(*sequence.tokens[start : start + size]))
            if sequence.spans:
                digest.update(_image_extras(sequence.spans, start, start + size))
            keys.append(digest.digest())

    def find_prefix(self, sequence: Sequence) -> list[int]:
        """The blocks of the longest cached beginning, leaving at least one token to compute.

        They are not reserved: `share` them before the next `allocate`.
        """
        found: list[int] = []
        if self.prefix_cache:
            reusable = (len(sequence.tokens) - 1) // self.block_size
            self.extend_keys(sequence, reusable * self.block_size)
            for key in sequence.block_keys[:reusable]:
                block = self._published.get(key)
                if block is None:
                    break
                found.append(block)
        return found

    def publish(self, sequence: Sequence, before: int) -> None:
        """Publish the blocks that became full while `sequence.computed` rose from `before`.

        When two sequences computed the same block at once, the first one's is the one that others find.
        """
        first, full = before // self.block_size, sequence.computed // self.block_size
        if first == full or not self.prefix_cache:
            return
        self.extend_keys(sequence, sequence.computed)
        for index in range(first, full):
            block, key = sequence.block_table[index], sequence.block_keys[index]
            if self._keys[block] is None and key not in self._published:
                self._keys[block] = key
                self._published[key] = block

    # -- invariants

    def check(self, sequences: Iterable[Sequence]) -> None:
        """Raise AssertionError unless the books balance, `sequences` being all that hold blocks."""
        users = [0] * self.num_blocks
        for sequence in sequences:
            full = sequence.computed // self.block_size
            needed = self.blocks_for(sequence.computed)
            require(len(sequence.block_table) >= needed, "computed tokens without a block")
            for index, block in enumerate(sequence.block_table):
                users[block] += 1
                key = self._keys[block]
                if index >= full:
                    require(self._users[block] == 1, f"block {block} is written and has several users")
                    require(key is None, f"block {block} is published but not full")
                elif key is not None:
                    require(key == sequence.block_keys[index], f"block {block} has another block's key")
        require(users == self._users, "user counts differ from the block tables")
        require(sum(self._empty) == self._empty_count, "the count of empty blocks is wrong")
        for block, count in enumerate(users):
            states = (count > 0) + (block in self._unused) + self._empty[block]
            require(states == 1, f"block {block} is in {states} states")
            require(not self._empty[block] or self._keys[block] is None, f"empty block {block} is published")
        published = {key: block for block, key in enumerate(self._keys) if key is not None}
        require(published == self._published, "published keys and blocks differ")
        require(all(self._keys[block] is not None for block in self._unused), "a cached block has no key")

    # -- inside

    def _evict(self, count: int) -> None:
        if count <= 0:
            return
        for _ in range(min(max(count, self._evict_batch), len(self._unused))):
            block, _ = self._unused.popitem(last=False)
            key = self._keys[block]
            if key is not None:
                del self._published[key]
            self._keys[block] = None
            self._empty[block] = 1
            self._empty_count += 1

    def _run_length(self, start: int, limit: int) -> int:
        """Empty blocks in a row from `start` on, at most `limit`."""
        used = self._empty.find(0, start, start + limit)
        return (min(start + limit, self.num_blocks) if used < 0 else used) - start

    def _find_run(self, count: int) -> tuple[int, int]:
        """Start and length of a run of empty blocks: of `count` if there is one, else a long piece."""
        roomy = self._empty.find(b"\1" * (count + GROWTH_BLOCKS), self._cursor)
        if roomy >= 0:
            self._cursor = roomy + count + GROWTH_BLOCKS
            return roomy, count
        self._cursor = 0  # the next one starts over from the front
        length = count
        while (start := self._empty.find(b"\1" * length)) < 0:
            length = (length + 1) // 2
        return start, self._run_length(start, count)

    def _take(self, taken: list[int], start: int, length: int) -> None:
        self._empty[start : start + length] = bytes(length)
        self._empty_count -= length
        for block in range(start, start + length):
            self._users[block] = 1
            taken.append(block)


def _image_extras(spans: Items[ImageSpan], start: int, end: int) -> bytes:
    """Which slice of which image stands behind which tokens of the block `[start, end)`.

    For each image that overlaps it: its digest, the offset inside the image of the first covered token, and
    where in the block the slice lies.
    """
    extras = b""
    for span in spans:
        first, last = max(start, span.offset), min(end, span.end)
        if first < last:
            extras += struct.pack("<qqqq", len(span.digest), first - span.offset, first - start, last - start)
            extras += span.digest
    return extras


def require(condition: bool, message: str) -> None:
    """An assertion that stays when Python optimises."""
    if not condition:
        raise AssertionError(message)
