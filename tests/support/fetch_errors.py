"""What a fetch failed with, and that it is an error for users: one line, and nothing behind it."""

from collections.abc import Awaitable

import pytest

from triptych.engine.errors import TriptychError
from triptych.server.delivery.fetch import FetchError


async def failure(fetch: Awaitable[bytes]) -> FetchError:
    with pytest.raises(FetchError) as error:
        await fetch
    assert isinstance(error.value, TriptychError)
    assert "\n" not in str(error.value)
    assert error.value.__cause__ is None
    return error.value


async def refused(fetch: Awaitable[bytes], code: str, *parts: str) -> str:
    error = await failure(fetch)
    assert error.code == code, error
    assert all(part in str(error) for part in parts), error
    return str(error)
