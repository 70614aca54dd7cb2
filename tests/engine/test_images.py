"""Opening and decoding pictures: every kind that must work, every kind that must be refused in one line."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from picture_files import encoded, file_corpus, noise, png_header
from PIL import Image, ImageOps

from triptych.engine.errors import ImageError
from triptych.engine.imaging.image_source import ImageLimits
from triptych.engine.imaging.images import ImageInput, ImageSource, open_image

ORIENTATIONS = range(1, 9)
pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")  # Pillow comments on damaged metadata


def refused(source: ImageSource, match: str, **limits: float) -> None:
    """Opening or decoding fails with one line that matches."""
    with pytest.raises(ImageError, match=match) as caught:
        open_image(source, limits=ImageLimits(**limits)).pixels()  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def outcome(data: bytes) -> str:
    """"" for a picture, else the message of the `ImageError`."""
    try:
        image = open_image(data, limits=ImageLimits(max_pixels=100_000))
        assert image.pixels().size == (image.width, image.height)
    except ImageError as error:
        return str(error)
    return ""


def array(image: ImageInput) -> np.ndarray:
    return np.asarray(image.pixels())


class TestSources:
    def test_path_bytes_data_uri_are_the_same_picture(self, tmp_path: Path) -> None:
        data = encoded(noise(30, 20), "JPEG")
        file = tmp_path / "a picture.jpg"
        file.write_bytes(data)
        uri = "data:image/jpeg;base64," + base64.b64encode(data).decode()
        images = [open_image(source) for source in (file, str(file), data, bytearray(data), uri)]  # type: ignore[arg-type]
        assert len({image.digest for image in images}) == 1
        assert len(set(images)) == 1
        assert all((image.width, image.height) == (30, 20) for image in images)
        assert all(np.array_equal(array(image), array(images[0])) for image in images)

    def test_data_uri_forms(self) -> None:
        data = encoded(noise(9, 9))
        text = base64.b64encode(data).decode()
        percent = "data:image/png," + "".join(f"%{byte:02x}" for byte in data)
        wrapped = "data:image/png;base64," + "\n".join(text[i : i + 60] for i in range(0, len(text), 60))
        url_safe = "DATA:;base64," + base64.urlsafe_b64encode(data).decode().rstrip("=")
        assert {open_image(uri).digest for uri in (percent, wrapped, url_safe)} == {open_image(data).digest}

    def test_damaged_data_uris(self) -> None:
        refused("data:image/png;base64", "no comma")
        refused("data:image/png;base64,", "empty")
        refused("data:image/png;base64,ab$d", "base64 is damaged")
        refused("data:image/png;base64,abcd", "not an image")

    def test_pillow_picture_is_copied(self) -> None:
        picture = noise(8, 6)
        image = open_image(picture)
        before = array(image)
        picture.paste((0, 0, 0), (0, 0, 8, 6))
        image.pixels().paste((9, 9, 9), (0, 0, 8, 6))
        assert np.array_equal(array(image), before)
        assert open_image(picture).digest != image.digest

    def test_pillow_pictures_of_equal_bytes_and_other_shape_differ(self) -> None:
        tall = noise(4, 6)
        wide = Image.frombytes("RGB", (6, 4), tall.tobytes())
        assert open_image(tall).digest != open_image(wide).digest

    def test_wrong_type(self) -> None:
        refused(12, "must be a path, bytes, a PIL image, a data URI or a URL, not int")  # type: ignore[arg-type]

    def test_label_names_the_file(self, tmp_path: Path) -> None:
        file = tmp_path / "x.png"
        file.write_bytes(b"no picture")
        refused(file, r"x\.png: not an image")


class TestBadInput:
    def test_missing_file(self, tmp_path: Path) -> None:
        refused(tmp_path / "none.png", r"none\.png: no such file")

    def test_empty_file(self, tmp_path: Path) -> None:
        file = tmp_path / "empty.png"
        file.touch()
        refused(file, r"empty\.png: the image is empty")
        refused(b"", "empty")

    def test_folder(self, tmp_path: Path) -> None:
        refused(tmp_path, "is a folder")

    def test_special_file(self) -> None:
        refused("/dev/null", "not a regular file")

    def test_path_that_no_system_takes(self) -> None:
        refused("a\0b.png", "cannot be read|no such file")
        refused("a" * 5000, "cannot be read")

    def test_not_an_image(self) -> None:
        refused(b"<html>not found</html>", "not an image")
        refused(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image")  # would run a program

    @pytest.mark.parametrize(("name", "data"), list(file_corpus()))
    def test_truncated_image(self, name: str, data: bytes) -> None:
        """However little or much is there: a picture or a one-line error, never another exception."""
        for share in (0.02, 0.1, 0.3, 0.5, 0.8, 0.95):
            assert "\n" not in outcome(data[: max(1, int(len(data) * share))])

    def test_truncated_jpeg_and_png_are_refused(self) -> None:
        for form in ("JPEG", "PNG", "BMP", "TIFF"):
            data = encoded(noise(64, 64), form)
            refused(data[: len(data) // 2], "truncated|damaged")

    def test_flipped_bytes_never_escape_as_another_exception(self) -> None:
        random = np.random.default_rng(0)
        for _, data in file_corpus():
            for _ in range(12):
                broken = bytearray(data)
                for place in random.integers(0, len(broken), 3):
                    broken[place] ^= int(random.integers(1, 256))
                assert "\n" not in outcome(bytes(broken))

    def test_decompression_bomb_is_refused_from_its_header(self) -> None:
        with pytest.raises(ImageError, match=r"50000x20000 pixels is over the limit|far too many pixels"):
            open_image(png_header(50_000, 20_000))

    def test_pixel_limit(self) -> None:
        data = encoded(noise(100, 50))
        refused(data, "100x50 pixels is over the limit of 4,999", max_pixels=4999)
        refused(noise(100, 50), "over the limit", max_pixels=4999)
        assert open_image(data, limits=ImageLimits(max_pixels=5000)).width == 100

    def test_side_limit(self) -> None:
        refused(png_header(70_000, 1), "65,535 on a side")

    def test_byte_limit(self, tmp_path: Path) -> None:
        data = encoded(noise(50, 50))
        (tmp_path / "big.png").write_bytes(data)
        refused(tmp_path / "big.png", "over the limit of 1,000 bytes", max_bytes=1000)
        refused(data, "over the limit of 1,000 bytes", max_bytes=1000)

    def test_header_and_content_disagree(self) -> None:
        """The token count came from the header: other pixels than it promised must not reach the model."""
        image = replace(open_image(encoded(noise(16, 16))), width=32)
        with pytest.raises(ImageError, match="header says 32x16 pixels but the content has 16x16"):
            image.pixels()

    def test_pixels_of_a_size_without_content(self) -> None:
        refused(png_header(10, 10), "truncated or damaged")


class TestHandled:
    def test_header_is_enough(self) -> None:
        image = open_image(png_header(640, 480))
        assert (image.width, image.height, len(image.digest)) == (640, 480, 16)

    @pytest.mark.parametrize(("name", "data"), list(file_corpus()))
    def test_every_format_decodes_to_rgb(self, name: str, data: bytes) -> None:
        image = open_image(data)
        picture = image.pixels()
        assert (picture.mode, picture.size) == ("RGB", (image.width, image.height))

    @pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
    def test_animated_shows_its_first_frame(self, form: str) -> None:
        first, second = Image.new("RGB", (20, 10), "red"), Image.new("RGB", (20, 10), "blue")
        options = {"lossless": True} if form == "WEBP" else {}
        image = open_image(encoded(first, form, save_all=True, append_images=[second], **options))
        assert np.array_equal(array(image), np.asarray(first))

    def test_cmyk(self) -> None:
        white = Image.new("CMYK", (4, 4), (0, 0, 0, 0))
        assert array(open_image(encoded(white, "JPEG", quality=95))).min() >= 250

    def test_palette(self) -> None:
        picture = Image.new("RGB", (4, 4), (10, 200, 30))
        assert np.array_equal(array(open_image(encoded(picture.quantize(4)))), np.asarray(picture))

    def test_alpha_shows_white_behind(self) -> None:
        picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
        picture.putpixel((1, 0), (255, 0, 0, 255))
        assert array(open_image(encoded(picture))).tolist() == [[[255, 255, 255], [255, 0, 0]]]

    def test_transparent_palette_colour_shows_white(self) -> None:
        picture = Image.new("RGB", (4, 4), (10, 200, 30)).quantize(4)
        index = picture.getpixel((0, 0))
        assert array(open_image(encoded(picture, "PNG", transparency=index))).min() == 255

    @pytest.mark.parametrize("form", ["PNG", "TIFF"])
    def test_sixteen_bit_grey_keeps_its_shades(self, form: str) -> None:
        values = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
        shown = array(open_image(encoded(Image.fromarray(values), form)))
        assert np.array_equal(shown[..., 0], (values >> 8).astype(np.uint8))

    def test_deep_integer_grey_keeps_its_shades(self) -> None:
        values = np.linspace(0, 65535, 64, dtype=np.int32).reshape(8, 8)
        assert np.array_equal(array(open_image(Image.fromarray(values)))[..., 0], (values >> 8).astype(np.uint8))
        small = values % 256
        assert np.array_equal(array(open_image(Image.fromarray(small)))[..., 0], small.astype(np.uint8))

    @pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_exif_rotation(self, form: str, orientation: int) -> None:
        """Size from the header and decoded pixels are both upright, as `ImageOps.exif_transpose` has it."""
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(noise(24, 10), form, exif=exif)
        image = open_image(data)
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        assert (image.width, image.height) == upright.size
        assert np.array_equal(array(image), np.asarray(upright))
        assert upright.size == ((10, 24) if orientation >= 5 else (24, 10))

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_exif_rotation_of_a_pillow_picture(self, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(noise(24, 10), "JPEG", exif=exif)
        assert np.array_equal(array(open_image(Image.open(io.BytesIO(data)))), array(open_image(data)))
        tiff = encoded(noise(24, 10), "TIFF", exif=exif)
        assert np.array_equal(array(open_image(Image.open(io.BytesIO(tiff)))), array(open_image(tiff)))

    def test_damaged_exif_is_ignored(self) -> None:
        data = encoded(noise(24, 10), "JPEG", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff")
        assert open_image(data).width == 24
        assert open_image(data).pixels().size == (24, 10)

    @pytest.mark.parametrize("size", [(1, 2000), (2000, 1), (1, 1), (2, 65_535)])
    def test_thin_pictures(self, size: tuple[int, int]) -> None:
        assert open_image(encoded(noise(*size))).pixels().size == size

    def test_decoding_twice_gives_the_same_pixels(self) -> None:
        image = open_image(encoded(noise(33, 21), "JPEG"))
        assert np.array_equal(array(image), array(image))
