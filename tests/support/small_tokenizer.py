"""A byte-fallback BPE tokenizer in the style of Llama's, with a few hundred pieces."""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

SPACE = "\u2581"
EOS = 2
SPECIAL = ("<unk>", "<s>", "</s>", "<image>", "<pad>")
LETTERS = SPACE + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;!?'\"{}[]()-+=\\/_é"
MERGES = (
    ("t", "h"), ("th", "e"), (SPACE, "the"), ("r", "e"), ("re", "d"), (SPACE, "red"), ("y", "e"), ("ye", "s"),
    (SPACE, "yes"), ('"', ":"), (SPACE, "a"), (SPACE, SPACE), ("1", "2"), (SPACE, "{"), ("n", "o"), (SPACE, "no"),
)  # fmt: skip


def small_tokenizer() -> Tokenizer:
    """`<unk>` 0, `<s>` 1, `</s>` 2, bytes 3..258, letters, merges, then `<image>` and `<pad>`."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": EOS}
    for piece in (*(f"<0x{byte:02X}>" for byte in range(256)), *LETTERS, *(a + b for a, b in MERGES)):
        vocab.setdefault(piece, len(vocab))
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=list(MERGES), unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in SPECIAL]
    )
    return tokenizer
