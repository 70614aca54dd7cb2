"""Text to token ids and back: a checkpoint's `tokenizer.json`, run by the `tokenizers` library.

`tokenizer.json` alone decides the ids, so nothing about a model family is assumed here. `tokenizer_config.json`
only says which tokens begin, end and fill a text.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from ..errors import CheckpointError, PromptError

_BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")


def _byte_alphabet() -> dict[str, int]:
    """The character that stands for each byte in GPT-2's vocabulary: itself if it prints, else one from 256 on."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printing]
    return {chr(byte): byte for byte in printing} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()


class Tokenizer:
    """`backend` is the `tokenizers.Tokenizer`; ids run from 0 to `vocab_size - 1`, added tokens included.

    `bos_id`, `eos_id` and `pad_id` are None where the checkpoint names no such token. Thread-safe.
    """

    def __init__(self, backend: tokenizers.Tokenizer, settings: dict[str, Any] | None = None) -> None:
        settings = settings or {}
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self._add_missing(settings)
        self.vocab_size: int = max(backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self.base_vocab_size: int = backend.get_vocab_size(with_added_tokens=False)
        self.bos_token = self._named(settings, "bos_token", "<s>")
        self.eos_token = self._named(settings, "eos_token", "</s>")
        self.pad_token = self._named(settings, "pad_token", None)
        self.unk_token = self._named(settings, "unk_token", "<unk>")
        self.bos_id = self.token_id(self.bos_token)
        self.eos_id = self.token_id(self.eos_token)
        self.pad_id = self.token_id(self.pad_token)
        self.adds_bos = self._adds_bos()
        self.special_ids = frozenset(
            number for number, token in backend.get_added_tokens_decoder().items() if token.special
        )
        self._literal_name = f"\U000f0000{secrets.token_hex(8)}"

    @classmethod
    def from_folder(cls, folder: str | Path) -> Tokenizer:
        """Opens `tokenizer.json` (and `tokenizer_config.json`) of a checkpoint. Raises `CheckpointError`."""
        folder = Path(folder)
        file = folder / "tokenizer.json"
        if not file.is_file():
            if (folder / "tokenizer.model").is_file():
                raise CheckpointError(
                    f"{folder}: has tokenizer.model but no tokenizer.json; put the tokenizer.json of the same "
                    f"vocabulary beside it (for Vicuna and Llama 2, that of NousResearch/Llama-2-7b-hf)"
                )
            raise CheckpointError(f"{folder}: has no tokenizer.json; download the checkpoint again")
        try:
            backend = tokenizers.Tokenizer.from_str(file.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises plain Exception
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{file}: not a usable tokenizer ({reason}); download it again") from None
        settings: dict[str, Any] = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            settings |= _read_settings(folder / name)
        return cls(backend, settings)

    def encode(self, text: str, *, add_bos: bool = True) -> list[int]:
        """Token ids; special tokens written in `text` become their ids.

        BOS comes first exactly once: it is added if this tokenizer adds it and `text` does not begin with it.
        """
        ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        if add_bos and self.adds_bos and self.bos_id is not None and ids[:1] != [self.bos_id]:
            return [self.bos_id, *ids]
        return ids

    def encode_literal(self, text: str, trusted: Sequence[tuple[int, int]], *, add_bos: bool = True) -> list[int]:
        """Like `encode`, but only the special tokens at the `trusted` (start, end) spans of `text` count.

        Everything else is ordinary text, even where it spells a special token. Raises `PromptError` if this
        tokenizer cannot take a special token's text apart.
        """
        names = self._literal[1]
        pieces, end = [], 0
        for start, stop in trusted:
            pieces += [text[end:start], names[text[start:stop]]]
            end = stop
        pieces.append(text[end:])
        ids: list[int] = self._literal[0].encode("".join(pieces), add_special_tokens=False).ids
        if add_bos and self.adds_bos and self.bos_id is not None and ids[:1] != [self.bos_id]:
            return [self.bos_id, *ids]
        return ids

    def decode(self, ids: Iterable[int], *, skip_special: bool = True) -> str:
        """The text of `ids`. Bytes that are no UTF-8 become U+FFFD."""
        text: str = self.backend.decode(list(ids), skip_special_tokens=skip_special)
        return text

    def token_id(self, token: str | None) -> int | None:
        """The id of a token given by its text; None if there is none."""
        number: int | None = self.backend.token_to_id(token) if token is not None else None
        return number

    def token_text(self, token_id: int) -> str | None:
        """The token as the vocabulary spells it; None for an id without a token."""
        text: str | None = self.backend.id_to_token(token_id)
        return text

    def token_bytes(self, token_id: int) -> bytes:
        """What the token stands for inside a text: also of one that is only a part of a character. Special tokens stand
        for their spelling; an id without a token for nothing.
        """
        text = self.token_text(token_id) or ""
        if token_id in self.special_ids:
            return text.encode()
        if self._byte_level:
            return bytes(_BYTE_OF[character] for character in text if character in _BYTE_OF)
        if _BYTE_TOKEN.fullmatch(text):
            return bytes([int(text[3:5], 16)])
        return text.replace("\u2581", " ").encode()

    @cached_property
    def _byte_level(self) -> bool:
        """Whether tokens spell bytes as GPT-2's do, rather than characters as sentencepiece's do."""
        return '"ByteLevel"' in json.dumps(json.loads(self.backend.to_str()).get("decoder"))

    @cached_property
    def special_texts(self) -> tuple[str, ...]:
        """The spellings of all special tokens, longest first."""
        tokens = self.backend.get_added_tokens_decoder().values()
        texts = {token.content for token in tokens if token.special}
        return tuple(sorted(texts, key=lambda text: (-len(text), text)))

    @cached_property
    def anchor(self) -> tuple[int, ...]:
        """Ids of a plain word: text decoded after it keeps its leading space."""
        return tuple(self.backend.encode("a", add_special_tokens=False).ids)

    @cached_property
    def _literal(self) -> tuple[tokenizers.Tokenizer, dict[str, str]]:
        """This tokenizer with its special tokens spelled so that no text contains them, and the spellings."""
        content = json.loads(self.backend.to_str())
        texts = {token["content"]: token["id"] for token in content["added_tokens"] if token["special"]}
        names = {text: f"{self._literal_name}:{number}:" for text, number in texts.items()}
        for token in content["added_tokens"]:
            if token["content"] in names:
                # A normaliser that puts a space before everything would do so to the name, and miss it in text.
                token |= {"content": names[token["content"]], "normalized": False}
        model = content["model"]
        try:
            model["vocab"] = {names.get(text, text): number for text, number in model["vocab"].items()}
            if model.get("unk_token") is not None:
                model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
            content["post_processor"] = None
            backend = tokenizers.Tokenizer.from_str(json.dumps(content))
        except Exception:  # the library raises plain Exception
            backend = None
        if backend is None or any(backend.token_to_id(names[text]) != number for text, number in texts.items()):
            raise PromptError(
                "the text spells a special token, which this model's tokenizer cannot take literally; remove it"
            )
        return backend, names

    def _add_missing(self, settings: dict[str, Any]) -> None:
        """Tokens that are only in tokenizer_config.json, as older LLaVA folders have `<image>`."""
        decoder = settings.get("added_tokens_decoder")
        for number, token in sorted((decoder if isinstance(decoder, dict) else {}).items(), key=lambda i: int(i[0])):
            text = str(token.get("content") if isinstance(token, dict) else token)
            if self.backend.token_to_id(text) is not None:
                continue
            special = bool(token.get("special", True)) if isinstance(token, dict) else True
            added = tokenizers.AddedToken(text, normalized=False, special=special)
            (self.backend.add_special_tokens if special else self.backend.add_tokens)([added])
            if self.backend.token_to_id(text) != int(number):
                raise CheckpointError(
                    f"tokenizer_config.json puts {text!r} at id {number}, tokenizer.json has room for it at "
                    f"{self.backend.token_to_id(text)}; the files do not belong together"
                )

    def _named(self, settings: dict[str, Any], name: str, usual: str | None) -> str | None:
        value = settings.get(name, usual)
        text = value.get("content") if isinstance(value, dict) else value
        return text if isinstance(text, str) and self.backend.token_to_id(text) is not None else None

    def _adds_bos(self) -> bool:
        # tokenizer_config.json may say add_bos_token, but the file's own post-processor is what counts.
        if self.bos_id is None:
            return False
        return bool(self.backend.encode("", add_special_tokens=True).ids[:1] == [self.bos_id])


class Detokenizer:
    """Turns a growing list of token ids into text, piece by piece; what was handed out never changes.

    A character whose bytes are incomplete is held back until it is complete. With `continues` the text carries
    on from other text (a raw prompt, a begun answer), so a leading space belongs to it; without, the tokenizer
    drops the space before the first word as it does for any text.
    """

    _PATIENCE = 8  # tokens that one character may take, before its bytes count as invalid

    def __init__(self, tokenizer: Tokenizer, *, continues: bool = False) -> None:
        self._tokenizer = tokenizer
        self._ids = list(tokenizer.anchor) if continues else []
        self._prefix = 0
        self._read = len(self._ids)

    def push(self, ids: Iterable[int]) -> str:
        """The text that became certain with `ids`; special tokens have none."""
        return "".join([self._push(token) for token in ids if token not in self._tokenizer.special_ids])

    def flush(self) -> str:
        """The rest, at the end of the text: incomplete bytes show as U+FFFD."""
        text = self._new_text()
        self._restart()
        return text

    def _push(self, token: int) -> str:
        # A decoder sees single tokens differently (it drops leading spaces, and cannot join bytes), so decode a
        # window that starts with what was handed out last, and hand out what the window grew by.
        self._ids.append(token)
        text = self._new_text()
        if not text:
            return ""
        if text.endswith("\ufffd"):
            if len(self._ids) - self._read < self._PATIENCE:
                return ""
            self._restart()
            return text
        self._prefix, self._read = self._read, len(self._ids)
        if self._prefix > 64:  # drop what will not be decoded again
            del self._ids[: self._prefix]
            self._prefix, self._read = 0, self._read - self._prefix
        return text

    def _new_text(self) -> str:
        decode = self._tokenizer.decode
        old = decode(self._ids[self._prefix : self._read])
        return decode(self._ids[self._prefix :])[len(old) :]

    def _restart(self) -> None:
        # Behind a plain word: invalid bytes would spoil the valid ones that follow them in one decoding.
        self._ids = list(self._tokenizer.anchor)
        self._prefix, self._read = 0, len(self._ids)


def _read_settings(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read ({error}); download it again") from None
    return content if isinstance(content, dict) else {}
