"""Version ids that public code pins, by the model they belong to: the newest first. More are a matter of aliases: a
served model may have a version id among its own.
"""

from __future__ import annotations

PINNED: dict[str, tuple[str, ...]] = {
    "yorickvp/llava-v1.6-mistral-7b": (
        "19be067b589d0c46689ffa7cc3ff321447a441986a7694c01225973c2eafc874",
        "4798da673efa7bc088aa046c2d5382d0c8b4fad971c828c3740d44feb7cbb471",
    ),
    "yorickvp/llava-13b": (
        "80537f9eead1a5bfa72d5ac6ea6414379be41d4d4f6679fd776e9535d1eb58bb",
        "b5f6212d032508382d61ff00469ddda3e32fd8a0e75dc39d8a4191bb742157fb",
        "2facb4a474a0462c15041b78b1ad70952ea46b5ec6ad29583c0b29dbd4249591",
        "e272157381e2a3bf12df3a8edd1f38d1dbd736bbb7437277c8b34175f8fce358",
    ),
    "mistralai/mixtral-8x7b-instruct-v0.1": (
        "5d78bcd7a992c4b793465bcdcf551dc2ab9668d12bb7aa714557a21c1e77041c",
        "7b3212fbaf88310cfef07a061ce94224e82efc8403c26fc67e8f6c065de51f21",
        "2b56576fcfbe32fa0526897d8385dd3fb3d36ba6fd0dbe033c72886b81ade93e",
        "cf18decbf51c27fed6bbdc3492312c1c903222a56e3fe9ca02d6cbe5198afc10",
    ),
}
