"""Decoding: every kind of image file is read rightly, or refused with its name and the repair."""

import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.pictures import encoded, gradient, png
from transfusion_lib.data.reading import decode
from transfusion_lib.errors import DataError

COLOUR = gradient(1, size=32)
GREY = np.asarray(Image.fromarray(COLOUR).convert("L"))


def colour(data: bytes, *, size: int = 32) -> NDArray[np.int64]:
    """Return a decoded colour picture as (size, size, 3)."""
    return decode.image(data, name="x", size=size, channels=3).transpose(1, 2, 0).astype(np.int64)


def grey(data: bytes, *, size: int = 32) -> NDArray[np.int64]:
    """Return a decoded grey picture as (size, size)."""
    made: NDArray[np.int64] = decode.image(data, name="x", size=size, channels=1)[0].astype(np.int64)
    return made


def test_plain_pictures_come_back_exactly() -> None:
    """Colour and grey, as (channels, height, width)."""
    assert decode.image(png(1, size=32), name="x", size=32, channels=3).shape == (3, 32, 32)
    np.testing.assert_array_equal(colour(encoded(COLOUR)), COLOUR)
    np.testing.assert_array_equal(grey(encoded(COLOUR)), GREY)
    np.testing.assert_array_equal(colour(encoded(GREY)), GREY[..., None].repeat(3, -1))


def test_sixteen_bits() -> None:
    """16 bits are scaled, not clipped; 12 bits in 16 are recognised."""
    wide = GREY.astype(np.uint16) * 257
    wide[0, 0] = 65535
    for form in ("PNG", "TIFF"):
        assert abs(grey(encoded(wide, form))[1:] - GREY[1:]).max() <= 1
    twelve = (GREY.astype(np.uint16) << 4) | (GREY >> 4)
    assert abs(grey(encoded(twelve)) - GREY).max() <= 1
    np.testing.assert_array_equal(grey(encoded(GREY.astype(np.uint16))), GREY)


def test_what_is_shallow_has_no_white() -> None:
    """The first bytes tell it of the usual files; of the others they do not claim it."""
    plain = Image.fromarray(COLOUR)
    usual = [encoded(plain, "JPEG"), *(encoded(plain.convert(mode)) for mode in ("1", "P", "L", "LA", "RGB", "RGBA"))]
    for content in usual:
        assert decode.shallow(content[:25])
        assert decode.white_level(content, name="x") is None
    deep = GREY.astype(np.uint16) * 16
    for content in (encoded(deep), encoded(deep, "TIFF")):
        assert not decode.shallow(content)
        assert decode.white_level(content, name="x") == 4095
    assert not decode.shallow(b"")


def test_deep_values_that_are_no_picture_are_refused() -> None:
    """Hounsfield units in a TIFF cannot be guessed."""
    with pytest.raises(DataError, match=r"^ct.tif: values from -1000 to 3000; save it with values from 0 to 65535$"):
        decode.image(encoded(np.array([[-1000, 3000]], np.int32), "TIFF"), name="ct.tif", size=16, channels=1)
    unit = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    assert abs(grey(encoded(unit, "TIFF"), size=16) - np.rint(unit * 255)).max() == 0


def test_cmyk() -> None:
    """Inks become light: a CMYK JPEG looks like its RGB original."""
    inks = Image.fromarray(COLOUR).convert("CMYK")
    assert abs(colour(encoded(inks, "JPEG", quality=100)) - COLOUR).mean() < 4


def test_palette() -> None:
    """A palette picture shows its colours and not its indices."""
    palette = Image.fromarray(COLOUR).quantize(64)
    np.testing.assert_array_equal(colour(encoded(palette)), np.asarray(palette.convert("RGB")))


def test_transparent_parts_are_black() -> None:
    """What lies under transparency is not shown, whatever way the file says that it is transparent."""
    left = np.zeros((32, 32), np.uint8)
    left[:, :16] = 1
    alpha = Image.fromarray((1 - left) * 255)
    flat = Image.fromarray(np.full((32, 32), 100, np.uint8))
    palette = Image.fromarray(left).convert("P")
    palette.putpalette([100, 100, 100, 200, 200, 200])
    expected = np.where(left == 1, 0, 100)
    np.testing.assert_array_equal(grey(encoded(Image.merge("LA", [flat, alpha]))), expected)
    np.testing.assert_array_equal(grey(encoded(Image.merge("RGBA", [flat, flat, flat, alpha]))), expected)
    np.testing.assert_array_equal(grey(encoded(palette, transparency=1)), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(orientation: int) -> None:
    """A photograph is shown upright, whatever the camera's note says."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation: the transposition that viewers apply, undone here
    stored = Image.fromarray(COLOUR)
    if orientation > 1:
        stored = stored.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    made = colour(encoded(stored, "JPEG", quality=100, subsampling=0, exif=exif))
    assert abs(made - COLOUR).mean() < 3


def test_content_counts_and_not_the_extension() -> None:
    """A PNG called .jpg is read; the check can tell."""
    np.testing.assert_array_equal(
        decode.image(png(1, size=32), name="a.jpg", size=32, channels=3), colour(png(1, size=32)).transpose(2, 0, 1)
    )
    assert not decode.named_rightly(png(), "a.jpg")
    assert decode.named_rightly(png(), "a.PNG")
    assert decode.named_rightly(encoded(COLOUR, "JPEG"), "a.jpeg")


def test_resizing_averages() -> None:
    """A fine checkerboard becomes grey: no pixel is dropped. A large JPEG is reduced while it is decoded."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    assert abs(grey(encoded(board), size=16) - 127).max() <= 2
    smooth = gradient(3, size=1024)
    small = np.asarray(Image.fromarray(smooth).resize((64, 64), Image.Resampling.BOX)).astype(int)
    assert abs(colour(encoded(smooth, "JPEG", quality=95), size=64) - small).mean() < 2


def test_field_of_view() -> None:
    """A fundus photograph is cropped to its disc and padded to a square, wherever the disc lies."""
    canvas = np.zeros((60, 100, 3), np.uint8)
    canvas[10:50, 40:80] = 120
    made = decode.image(encoded(canvas), name="x", size=40, channels=3, fit="field")
    assert (made == 120).all()
    canvas[10:30, 40:80] = 0
    made = decode.image(encoded(canvas), name="x", size=40, channels=3, fit="field")
    assert (made[:, 11:29] == 120).all()
    assert made[:, :9].max() == made[:, 31:].max() == 0
    assert decode.image(encoded(canvas * 0), name="x", size=40, channels=3, fit="field").max() == 0


def test_masks_are_zero_and_one() -> None:
    """Whatever the file's white is: 1-bit or 255; half covered counts as covered."""
    drawn = np.zeros((32, 32), bool)
    drawn[8:24, 8:24] = True
    for data in (encoded(Image.fromarray(drawn)), encoded(drawn.astype(np.uint8) * 255)):
        made = decode.mask(data, name="x", size=16)
        assert made.shape == (1, 16, 16)
        np.testing.assert_array_equal(np.unique(made), [0, 1])
        assert made.sum() == 64


def bomb(side: int) -> bytes:
    """Return a valid PNG of a few bytes that claims ``side`` x ``side`` pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


HOSTILE = {
    "zero bytes": (b"", r"empty \(0 bytes\); copy it again"),
    "truncated PNG": (png(1, size=64)[:-300], "damaged or truncated .*; copy it again"),
    "truncated JPEG": (encoded(gradient(1, size=128), "JPEG")[:-400], "damaged or truncated .*; copy it again"),
    "header only": (png(1)[:20], "not an image but|damaged or truncated"),
    "text": (b"patient,grade\n1,2\n", "not an image but unknown bytes; export it as PNG or JPEG"),
    "web page": (b"<!doctype html><p>404", "not an image but a web page"),
    "PDF": (b"%PDF-1.7 ...", "not an image but a PDF"),
    "DICOM": (b"\0" * 128 + b"DICM" + b"\0" * 64, "not an image but a DICOM file"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "not an image but a Git LFS pointer"),
    "bomb": (bomb(50_000), "claims more than 89,478,485 pixels; resize it"),
    "large picture": (bomb(10_000), "claims more than 89,478,485 pixels; resize it|10000 x 10000 pixels, more than"),
    "several pictures": (
        encoded(Image.fromarray(COLOUR), "TIFF", save_all=True, append_images=[Image.fromarray(COLOUR)]),
        "holds 2 pictures; save the one that is meant",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_picture_is_refused_in_one_line(name: str) -> None:
    """The line begins with the file's name and ends in the repair."""
    data, message = HOSTILE[name]
    with pytest.raises(DataError, match=message) as caught:
        decode.image(data, name="folder/a.png", size=32, channels=3)
    assert str(caught.value).startswith("folder/a.png: ")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_no_damaged_file_escapes_as_another_error() -> None:
    """Any change of a byte, any length: a picture or a DataError."""
    rng = np.random.default_rng(0)
    for form in ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF"):
        whole = encoded(COLOUR, form)
        for _ in range(60):
            broken = bytearray(whole[: rng.integers(1, len(whole) + 1)])
            for position in rng.integers(0, len(broken), 3):
                broken[position] = rng.integers(0, 256)
            try:
                made = decode.image(bytes(broken), name="x", size=16, channels=3)
            except DataError:
                continue
            assert made.shape == (3, 16, 16)
