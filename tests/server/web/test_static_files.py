"""What pages load: cached for ever under the hash of its content, checked under any other address, and nothing else."""

from __future__ import annotations

import gzip
import re

import pytest

from triptych.server.web.static_files import asset, static_answer, static_files

PACKED = {"accept-encoding": "gzip, deflate"}


@pytest.mark.parametrize("name", sorted(static_files()))
def test_every_file_is_given_out_as_it_is(name):
    file = static_files()[name]
    answer = static_answer(name, {"v": file.tag}, {})
    assert (answer.body, answer.status, answer.content_type) == (file.body, 200, file.content_type)
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"
    packed = static_answer(name, {}, PACKED)
    if file.packed is not None:
        assert gzip.decompress(packed.body) == file.body
        assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["cache-control"] == "no-cache"


def test_a_file_that_a_browser_has_is_not_sent_again():
    tag = static_files()["style.css"].tag
    answer = static_answer("style.css", {}, {"if-none-match": f'W/"x", "{tag}"'})
    assert (answer.status, answer.body) == (304, b"")
    assert static_answer("style.css", {}, {"if-none-match": '"x"'}).status == 200
    assert static_answer("style.css", {"v": "0"}, {}).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("name", ["", "../pages.py", "nothing.css", "/etc/passwd", "vendor", "style.css/", "STYLE.CSS"])
def test_nothing_else_is_there(name):
    assert static_answer(name, {}, {}) is None
    with pytest.raises(KeyError):
        asset(name)


def test_no_file_loads_from_elsewhere_and_modules_import_what_is_there():
    for name, file in static_files().items():
        text = file.body.decode()
        if name.endswith(".css"):
            assert "url(" not in text
            assert "@import" not in text
        if name.endswith(".js") and not name.startswith("vendor/"):
            imported = re.findall(r'(?:from|import)\s*\(?\s*"([^"]+)"', text)
            assert all(path.removeprefix("./") in static_files() for path in imported), (name, imported)
            assert "innerHTML" not in text, f"{name}: text of others must never become markup"
            assert not re.search(r"\beval\(|new Function\(", text)
