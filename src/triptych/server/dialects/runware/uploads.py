"""Images that are uploaded once and used by their UUID: `imageUpload`, `mediaStorage`, and the URLs of both."""

from __future__ import annotations

import uuid as uuids
from dataclasses import dataclass
from functools import partial

from ...exchange import Answer, Download, Exchange
from ...files.library import FileLibrary
from ...service import Service
from ...store.files import FileRecord
from . import images
from .begun import Begun, Item, Sender, Task
from .errors import TaskError, not_found, shown
from .fields import Fields, invalid, missing

_ENDINGS = {"image/jpeg": "jpg"}


@dataclass(frozen=True, slots=True)
class Uploads:
    """The handlers. An upload expires 30 days after it was used last."""

    service: Service
    files: FileLibrary

    async def image(self, sender: Sender, task: Task) -> Begun:
        """Keep an image. Raises TaskError."""
        sent = _sent(Fields(task.fields), "image")
        return Begun(later=partial(self._upload, sender, task, "image", sent))

    async def media(self, sender: Sender, task: Task) -> Begun:
        """The same under its newer name, with deletion. Raises TaskError."""
        fields = Fields(task.fields)
        operation = fields.word("operation", ("upload", "delete"), "upload")
        sent = _sent(fields, "media")
        work = self._upload if operation == "upload" else self._delete
        return Begun(later=partial(work, sender, task, "media", sent))

    async def _upload(self, sender: Sender, task: Task, name: str, sent: str) -> Item:
        if sender.dry:
            raise TaskError("unsupportedParameter", "An upload cannot be tried dry.", name, "string")
        record = await self._known(sender, name, sent) or await self._new(sender, name, sent)
        url = f"{sender.base}/v1{images.MEDIA}/{record.filename}"
        item: Item = {"taskType": task.type, "taskUUID": task.uuid}
        if name == "media":
            item["operation"] = "upload"
        return item | {f"{name}UUID": record.id, f"{name}URL": url}

    async def _known(self, sender: Sender, name: str, sent: str) -> FileRecord | None:
        """What is there already, if a UUID was sent."""
        if not images.UUID.fullmatch(sent):
            return None
        record = await images.stored(self.files, sender.owner, sent)
        if record is None:
            raise invalid(name, "string", f"There is no {name} {sent}: it was not found or has expired.")
        await self.files.extend(record, images.LASTS)
        return record

    async def _new(self, sender: Sender, name: str, sent: str) -> FileRecord:
        data, kind = await images.read(self.service, name, sent)
        uuid = str(uuids.uuid4())
        filename = f"{uuid}.{_ENDINGS.get(kind) or kind.rpartition('/')[2]}"
        return await self.files.add(sender.owner, images.PURPOSE, filename, kind, data, images.LASTS, uuid)

    async def _delete(self, sender: Sender, task: Task, name: str, sent: str) -> Item:
        record = await images.stored(self.files, sender.owner, sent) if images.UUID.fullmatch(sent) else None
        if record is None:
            raise TaskError("mediaNotFound", f"There is no media {shown(sent)}.", name, "string")
        if not sender.dry:
            await self.files.delete(record)
        return {"taskType": task.type, "taskUUID": task.uuid, "operation": "delete", "mediaUUID": sent}

    async def download(self, service: Service, exchange: Exchange, body: bytes) -> Download | Answer:
        """The bytes of an upload. Whoever has the URL may read them: it cannot be guessed."""
        name = exchange.scope["path_params"]["name"]
        uuid = name.partition(".")[0].lower()
        record = await self.files.get(None, uuid) if images.UUID.fullmatch(uuid) else None
        if record is None or record.purpose != images.PURPOSE:
            raise not_found(exchange.scope["path"])
        # Whatever was uploaded, no browser shall take it for a page of this server.
        headers = {"x-content-type-options": "nosniff", "content-security-policy": "sandbox; default-src 'none'"}
        return Download(await self.files.content(record), record.size, record.content_type, headers)


def _sent(fields: Fields, name: str) -> str:
    value = fields.text(name)
    if value is None or not value.strip():
        raise missing(name)
    return value.strip()
