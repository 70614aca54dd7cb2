"""Files of this dialect, and the secret of its webhooks, in words."""

from __future__ import annotations

import msgspec

from ....operations import JSON, Body, Example, Field, Fields, Parameter, Reply
from .answers import InputFile, InputFilePage, WebhookSecret
from .failures import operation

# Ids in examples.
FILE_ID = "1v9q8xk2n5j3c7m0d4t6w8z1bk"
EXPIRY = "1795742138"
SIGNATURE = "pD1QmP0WJYk4c0uF5dV3b8m2n7x9s1a4t6y8r0e2w5Q="


class InputUpload(msgspec.Struct):
    """The parts of the form."""

    content: bytes
    filename: str | msgspec.UnsetType = msgspec.UNSET
    type: str | msgspec.UnsetType = msgspec.UNSET
    metadata: str | msgspec.UnsetType = msgspec.UNSET


FIELDS: Fields = {
    InputUpload: {
        "content": Field("The file itself.", None, {"type": "string", "format": "binary"}),
        "filename": Field("Its name, in place of the one that its part has."),
        "type": Field("Its media type, in place of the one that its part has."),
        "metadata": Field("A JSON object that comes back with the file; or fields `metadata[key]`."),
    },
}

_FILE = Parameter("file_id", "The file's id.", "path", example=FILE_ID)

OPERATIONS = (
    operation(
        "POST", "/files", "Upload an input",
        "Keeps a file for a day, so that `urls.get` may stand in the input of predictions. It is its key's alone.",
        Reply(201, "The file.", {JSON: InputFile}), 400, 413, 422,
        body=Body(InputUpload, content_type="multipart/form-data", examples=(
            Example("An image", {"metadata": '{"album": "boats"}'}, {"content": ("boats.svg", "not an image yet")}),
        )),
    ),
    operation("GET", "/files", "List inputs", "The caller's files, the newest first, 100 to a page.",
              Reply(200, "A page of files.", {JSON: InputFilePage}), 400,
              parameters=(Parameter("cursor", "A place in the list, from `next` or `previous` of a page."),)),
    operation("GET", "/files/{file_id}", "Describe an input", "What is known of a file.",
              Reply(200, "The file.", {JSON: InputFile}), 404, parameters=(_FILE,)),
    operation("DELETE", "/files/{file_id}", "Delete an input", "Deletes it at once.",
              Reply(204, "It is gone."), 404, 413, parameters=(_FILE,)),
    operation(
        "GET", "/files/{file_id}/download", "Download an input",
        "The file's bytes, for whoever has the signed URL: `urls.download` of the file.",
        Reply(200, "The bytes.", {"application/octet-stream": str}), 404, public=True,
        parameters=(
            _FILE, Parameter("owner", "Whose it is.", example="local"),
            Parameter("expiry", "Until when the signature holds, in seconds since 1970.", example=EXPIRY),
            Parameter("signature", "HMAC-SHA256 over owner, id and expiry, in base64.", example=SIGNATURE),
        ),
    ),
    operation("GET", "/webhooks/default/secret", "Read the secret of webhooks",
              "What the caller's webhooks are signed with.", Reply(200, "The secret.", {JSON: WebhookSecret})),
)  # fmt: skip
