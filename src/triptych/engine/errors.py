"""What can go wrong, in classes a caller can tell apart.

Every message is one line that names the cause and the way out. `TriptychError` is the root; the command line
prints its message and exits with 1, the API dialects map the class to their own error shape.
"""


class TriptychError(Exception):
    """Root of all errors that are meant for the user."""


class CheckpointError(TriptychError):
    """A checkpoint folder or file is missing, damaged, or does not fit its own config."""


class UnsupportedModelError(CheckpointError):
    """The checkpoint is sound, but of an architecture or layout this engine does not run."""


class DownloadError(TriptychError):
    """A checkpoint could not be fetched from the hub."""


class ImageError(TriptychError):
    """An input is not an image that can be shown to a model."""


class PromptError(TriptychError):
    """A prompt cannot be built: wrong roles, or images and placeholders do not match."""


class ContextOverflowError(PromptError):
    """The prompt (plus at least one generated token) does not fit the context; the message has both numbers."""


class ParameterError(TriptychError):
    """A sampling parameter or an engine option has an invalid value; `name` says which."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class ConstraintError(ParameterError):
    """A JSON schema, regex or choice list that cannot be compiled or can never be satisfied."""


class MemoryBudgetError(TriptychError):
    """Weights or KV cache do not fit; the message says what would."""


class QueueFullError(TriptychError):
    """The bounded queue of waiting requests is full; try again later."""


class ModelOutputError(TriptychError):
    """The model computed values that are not numbers, so that no token can be chosen."""


class EngineStoppedError(TriptychError):
    """The engine was closed, or its loop died, while the request was waiting or running."""


class InternalError(TriptychError):
    """A bug of ours, met where its traceback could not come along; a log has the details."""
