"""Stored files: whole or not at all, each its owner's, gone in time; on every database and in an object store."""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from triptych.server.files.blobs import BlobError, Blobs
from triptych.server.files.library import FileLibrary
from triptych.server.store.files import FileRecord
from triptych.server.store.store import Store, StoreError


async def _read(files: FileLibrary, record: FileRecord) -> bytes:
    return b"".join([part async for part in await files.content(record)])


async def _add(files: FileLibrary, content: bytes = b"hello", **more: Any) -> FileRecord:
    return await files.add(more.pop("owner", "me"), "batch", "a.jsonl", "text/plain", content, **more)


async def test_a_file_comes_back_as_it_was(files: FileLibrary) -> None:
    content = bytes(range(256)) * 5000
    record = await files.add("me", "vision", "a.bin", "image/png", io.BytesIO(content))
    assert (record.size, record.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    found = await files.get("me", record.id)
    assert found == record
    assert await _read(files, record) == content


async def test_others_do_not_see_it(files: FileLibrary) -> None:
    record = await _add(files)
    assert await files.get("you", record.id) is None
    assert await files.get("", record.id) is None
    assert await files.page("you", (), None, True, 10) == []


async def test_what_a_dialect_keeps_of_it_comes_back(files: FileLibrary) -> None:
    record = await _add(files, details={"metadata": {"album": "é"}, "md5": "0"})
    assert record.details == {"metadata": {"album": "é"}, "md5": "0"}
    assert await files.get("me", record.id) == record
    assert await files.page("me", (), None, True, 10) == [record]
    assert (await _add(files)).details == {}


async def test_who_may_read_it_without_being_its_owner_gets_it(files: FileLibrary) -> None:
    record = await _add(files)
    assert await files.get(None, record.id) == record


async def test_pages_go_through_all_in_both_orders(files: FileLibrary) -> None:
    ids = [(await _add(files, str(number).encode())).id for number in range(5)]
    seen, after = [], None
    while page := await files.page("me", (), after, True, 2):
        seen += [record.id for record in page]
        after = seen[-1]
    assert seen == sorted(ids, reverse=True)
    assert [record.id for record in await files.page("me", (), sorted(ids)[1], False, 10)] == sorted(ids)[2:]
    assert await files.page("me", ("vision",), None, True, 10) == []


async def test_a_deleted_file_is_gone_with_its_bytes(files: FileLibrary, tmp_path: Path) -> None:
    record = await _add(files)
    await files.delete(record)
    assert await files.get("me", record.id) is None
    assert not [path for path in (tmp_path / "files").rglob("*") if path.is_file()]
    await files.delete(record)  # once more is no error


async def test_a_file_whose_time_is_over_is_not_seen_and_then_deleted(files: FileLibrary, tmp_path: Path) -> None:
    record, stays = await _add(files, lasts=0.0), await _add(files, lasts=3600.0)
    assert await files.get("me", record.id) is None
    assert [each.id for each in await files.page("me", (), None, True, 10)] == [stays.id]
    assert await files.purge() == 1
    assert len([path for path in (tmp_path / "files").rglob("*") if path.is_file()]) == 1
    assert await files.purge() == 0


async def test_bytes_that_no_file_has_are_deleted_in_time(files: FileLibrary, tmp_path: Path) -> None:
    kept = await _add(files)
    broken_off = tmp_path / "files" / "triptych-files" / "0123"
    broken_off.write_bytes(b"half")
    other = tmp_path / "files" / "not-ours"
    other.write_bytes(b"somebody else's")
    assert await files.purge_orphans(timedelta(hours=1)) == 0
    assert await files.purge_orphans(timedelta(seconds=-1)) == 1
    assert not broken_off.exists()
    assert other.exists()
    assert await _read(files, kept) == b"hello"


async def test_a_row_that_cannot_be_written_leaves_no_bytes(
    files: FileLibrary, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(work: object) -> None:
        raise StoreError("the database failed: database or disk is full")

    monkeypatch.setattr(store, "write", full)
    with pytest.raises(StoreError):
        await _add(files)
    assert not [path for path in (tmp_path / "files").rglob("*") if path.is_file()]


async def test_bytes_that_cannot_be_written_leave_no_row(store: Store, tmp_path: Path) -> None:
    files = FileLibrary(store, Blobs(tmp_path / "files"))
    (tmp_path / "files" / "triptych-files").write_text("in the way")
    with pytest.raises(BlobError, match="could not be stored"):
        await _add(files)
    assert await files.page("me", (), None, True, 10) == []


async def test_missing_bytes_are_told(files: FileLibrary, tmp_path: Path) -> None:
    record = await _add(files)
    next((tmp_path / "files").rglob(record.id)).unlink()
    for read in (files.content, files.read):
        with pytest.raises(BlobError, match="cannot be read: it is not there") as caught:
            await read(record)
        assert str(tmp_path) not in str(caught.value)


async def test_all_of_a_file_at_once_is_its_parts_together(files: FileLibrary) -> None:
    for content in (b"", b"x", bytes(range(256)) * 5000):
        record = await files.add("me", "batch", "a", "text/plain", content)
        assert await files.read(record) == await _read(files, record) == content


def test_a_place_that_is_none_is_told() -> None:
    with pytest.raises(BlobError, match="files cannot be kept at nonsense:"):
        Blobs("nonsense://bucket")


# ---- an object store ------------------------------------------------------------------------------------------------


@pytest.fixture
async def bucket(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A bucket of a real S3 server."""
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    import urllib.request

    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/shelf", method="PUT"), timeout=60).close()
    yield "s3://shelf/triptych"
    server.stop()


async def test_files_live_in_an_object_store(store: Store, bucket: str) -> None:
    files = FileLibrary(store, Blobs(bucket))
    content = b"0123456789" * 1_200_000  # more than one part
    record = await files.add("me", "batch", "a", "text/plain", io.BytesIO(content))
    assert await _read(files, record) == await files.read(record) == content
    assert await files.purge_orphans(timedelta(seconds=-1)) == 0
    await files.delete(record)
    with pytest.raises(BlobError):
        await files.content(record)


async def test_a_file_that_is_used_stays_longer_and_never_shorter(files: FileLibrary) -> None:
    record = await _add(files, lasts=60)
    await files.extend(record, 3600)
    found = await files.get("me", record.id)
    assert found is not None
    assert found.expires_us is not None
    assert found.expires_us >= record.created_us + 3600_000_000
    await files.extend(record, 60)
    assert await files.get("me", record.id) == found
    forever = await _add(files)
    await files.extend(forever, 60)
    assert await files.get("me", forever.id) == forever
