"""What a prediction runs, as it is stored: a generation whose images are sources still."""

from __future__ import annotations

import secrets
from dataclasses import replace

import msgspec

from ...engine.request import SamplingParams
from ..generation import ChatPrompt, RawPrompt
from ..service import FILE


class StoredGeneration(msgspec.Struct, frozen=True):
    """`sources` are URLs of images, or `service.FILE` with the id of a stored file, in the order of their places.
    `called` is the name of the model that was asked for. Where a text is `needed`, one without it has failed.
    """

    prompt: ChatPrompt | RawPrompt
    params: SamplingParams
    sources: tuple[str, ...] = ()
    called: str = ""
    needed: bool = False

    @property
    def runs(self) -> bool:
        """Whether there is anything to run: of what was refused before it began there is not."""
        return isinstance(self.prompt, RawPrompt) or bool(self.prompt.messages)

    @property
    def reads(self) -> list[str]:
        """The ids of the stored files among the sources."""
        return [source.removeprefix(FILE) for source in self.sources if source.startswith(FILE)]

    def fixed(self) -> StoredGeneration:
        """The same with a seed, where chance plays a part: whoever begins again after a crash gets the same text."""
        params = self.params
        if params.seed is not None or params.greedy:
            return self
        return msgspec.structs.replace(self, params=replace(params, seed=secrets.randbits(31)))

    def written(self) -> str:
        """As JSON."""
        return _encoder.encode(self).decode()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(StoredGeneration)


def read_stored(text: str) -> StoredGeneration:
    """What `written` made."""
    return _decoder.decode(text)
