"""Forms with files, and the callers of a server with two keys."""

from __future__ import annotations

KEYS = ("key-one", "key-two")
ONE, TWO = ({"authorization": f"Bearer {key}"} for key in KEYS)


def multipart(file: bytes | None, filename: str = "in.jsonl", **fields: str) -> tuple[bytes, dict[str, str]]:
    """A form with `fields` and a file called `file`, and the headers that it is sent with."""
    parts = [
        f'--edge\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    if file is not None:
        head = f'--edge\r\ncontent-disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'
        parts.append(head.encode() + file + b"\r\n")
    return b"".join(parts) + b"--edge--\r\n", {"content-type": "multipart/form-data; boundary=edge"}
