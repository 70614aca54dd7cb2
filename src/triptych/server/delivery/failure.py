"""Why no bytes of an image could be had, in the codes of OpenAI's image errors."""

from __future__ import annotations

from typing import Literal

from ...engine.errors import TriptychError

Code = Literal[
    "invalid_image_url",  # it cannot be read, or a rule forbids it
    "failed_to_download_image",  # the other side, the way to it, or a limit met on the way
    "invalid_base64_image",
    "empty_image_file",
    "image_file_too_large",  # the bytes in the request itself; what is downloaded fails to download
]


class FetchError(TriptychError):
    """No bytes. The message is one line for the caller: the rule and the way out, no address and nothing of a body."""

    def __init__(self, message: str, code: Code) -> None:
        super().__init__(message)
        self.code = code
