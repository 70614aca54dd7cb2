"""Images in the request itself: every spelling of base64 that clients send, and junk with its place."""

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triptych.server.delivery.fetch import FetchError, read_base64, read_data_uri
from triptych.server.delivery.inline import _PIECE

# Its base64 has all that is special: + and / (or - and _), and padding.
DATA = b"\xfb\xef\xbe\xff\xff\xff\x89PNG"
TEXT = base64.b64encode(DATA).decode()
URLSAFE = base64.urlsafe_b64encode(DATA).decode()
assert TEXT.endswith("==")
assert "+" in TEXT
assert "/" in TEXT


def fails(code, read, *arguments):
    with pytest.raises(FetchError) as error:
        read(*arguments)
    assert error.value.code == code
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.rstrip("="),
        TEXT.rstrip("=") + "=",
        TEXT + "===",
        URLSAFE,
        URLSAFE.rstrip("="),
        f" {TEXT}\n",
        "\r\n".join(TEXT[i : i + 4] for i in range(0, len(TEXT), 4)),
        TEXT[:3] + " \t" + TEXT[3:-1] + "\n=",
        quote(TEXT, safe=""),
        quote(TEXT, safe="").replace("%3D", "%3d"),
        "".join(f"%{ord(letter):02x}" for letter in TEXT),
        quote(URLSAFE + "\n", safe=""),
        TEXT.replace("+", "-"),
    ],
)
def test_base64_in_every_spelling(text):
    assert read_base64(text) == DATA
    assert read_data_uri(f"data:image/png;base64,{text}") == DATA


@given(st.binary(min_size=1, max_size=100), st.booleans(), st.booleans(), st.booleans(), st.integers(1, 20))
def test_base64_comes_back_however_it_is_written(data, urlsafe, padded, escaped, width):
    text = (base64.urlsafe_b64encode if urlsafe else base64.b64encode)(data).decode()
    text = text if padded else text.rstrip("=")
    text = "\n".join(text[i : i + width] for i in range(0, len(text), width))
    assert read_base64(quote(text, safe="") if escaped else text) == data


@given(st.text())
def test_any_text_is_bytes_or_an_error_of_ours(text):
    for read, source in ((read_base64, text), (read_data_uri, text), (read_data_uri, f"data:;base64,{text}"),
                         (read_data_uri, f"data:{text}")):  # fmt: skip
        try:
            assert read(source)
        except FetchError as error:
            assert error.code in ("invalid_base64_image", "empty_image_file", "invalid_image_url")  # noqa: PT017


@pytest.mark.parametrize("size", [_PIECE * 3 // 4 + extra for extra in (-1, 0, 1, 2, 3)] + [_PIECE * 2])
def test_long_texts_are_decoded_piece_by_piece(size):
    data = bytes(range(256)) * (size // 256 + 1)
    text = base64.b64encode(data[:size]).decode()
    assert read_base64(text) == data[:size]
    assert read_base64("\n" + text.rstrip("=")) == data[:size]
    middle = text[:_PIECE] + "AA==" + text[_PIECE:]
    if len(text) > _PIECE:
        assert f"offset {_PIECE + 2:,}" in fails("invalid_base64_image", read_base64, middle)


@pytest.mark.parametrize(
    "head",
    [
        "data:image/png;base64",
        "DATA:image/png;BASE64",
        "data:;base64",
        "data:base64",
        "data:image/jpeg;charset=utf-8;base64",
        "data:image/jpeg;base64;charset=utf-8",
        "data:image/png; base64 ",
        "data:text/plain;name=a.png;base64",
        " \ndata:image/png;base64",
    ],
)
def test_the_head_of_a_data_uri_is_read_leniently_and_its_type_is_ignored(head):
    assert read_data_uri(f"{head},{TEXT}") == DATA


@pytest.mark.parametrize(
    ("uri", "data"),
    [
        ("data:image/svg+xml,%3Csvg/%3E", b"<svg/>"),
        ("data:,a,b", b"a,b"),
        ("data:image/png,%89PNG%0D%0A", b"\x89PNG\r\n"),
        ("data:,100%", b"100%"),
        ("data:,é", "é".encode()),
    ],
)
def test_a_data_uri_without_base64_is_percent_encoded(uri, data):
    assert read_data_uri(uri) == data


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("!AAA", "0"),
        ("AAAA!AAA", "4"),
        ("AA=AAAA", "2"),
        ("QQ==QQ==", "2"),
        ("AA\n\nA.AA", "5"),
        ("%2BAA*", "5"),
        ("AA%21A", "2"),
        ("%2B%2B%%2B", "6"),
        ("AA%zz", "2"),
        ("AAAé", "3"),
        ("AA\ud800A", "2"),
        ("AA\x00A", "2"),
        ("A" * 5000 + "!", "5,000"),
        ("AAAAA", "5"),
        ("A", "1"),
        ("cat.png", "3"),
    ],
)
def test_junk_is_an_error_with_its_offset(text, offset):
    message = fails("invalid_base64_image", read_base64, text)
    assert f"offset {offset};" in message
    assert f"offset {offset};" in fails("invalid_base64_image", read_data_uri, f"data:image/png;base64,{text}")


@pytest.mark.parametrize(
    "uri", ["data:image/png;base64", "data:", f"data:image/png;base64{TEXT}", "http://a/,", ",", ""]
)
def test_a_data_uri_without_its_parts_is_an_error(uri):
    assert "write data:image/png;base64,..." in fails("invalid_image_url", read_data_uri, uri)


@pytest.mark.parametrize("text", ["", " \n", "=", "====", "%3D%3D", "%0A"])
def test_nothing_is_an_empty_file(text):
    fails("empty_image_file", read_base64, text)
    fails("empty_image_file", read_data_uri, f"data:image/png;base64,{text}")


def test_the_limit_is_in_bytes_of_the_image():
    assert len(read_base64("A" * 400, 300)) == 300
    assert len(read_data_uri("data:," + "%41" * 300, 300)) == 300
    for read, text in ((read_base64, "A" * 404), (read_data_uri, "data:," + "a" * 303)):
        assert "has 303 bytes, the limit is 300" in fails("image_file_too_large", read, text, 300)


def test_padding_without_end_takes_no_time():
    fails("empty_image_file", read_base64, "=" * 1_000_000)
    fails("invalid_base64_image", read_base64, "A" + "=" * 1_000_000 + "A")
