"""One image file in, one uint8 array out, with every way in which image files surprise.

Files are recognised by their content, never by their name. What cannot be read rightly is a ``DataError``.
"""

import io
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from transfusion_lib.errors import DataError

VERSION = 1  # raise when the same file would now give other pixels: it is part of every fingerprint
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM", "GIF")
LARGEST = 89_478_485  # pixels, from where on Pillow warns of a bomb; cameras and mammography stay below 30 million
BIT_DEPTHS = (b"\1", b"\2", b"\4", b"\x08")  # of a PNG that is not deep
FIELD_LEVEL = 10  # brightness above which a pixel belongs to the field of view of a fundus photograph

# What Pillow raises on damaged files, found by damaging some; warnings where the user has made them errors.
FAULTS = (OSError, ValueError, SyntaxError, EOFError, TypeError, LookupError, ArithmeticError, AttributeError, Warning)

Fit = Literal["stretch", "field"]


def image(
    data: bytes, *, name: str, size: int, channels: int, fit: Fit = "stretch", white: float | None = None
) -> NDArray[np.uint8]:
    """Return the picture in ``data`` as uint8 (channels, size, size).

    ``stretch`` resizes to a square; ``field`` first crops to the illuminated field of a fundus photograph and pads
    it to a square. Down-sampling averages (bilinear with support). ``white`` is the level of deep grey pictures that
    becomes 255, by default the picture's own (see ``white_level``). ``name`` is for messages.
    """
    try:
        picture = _open(data, name=name)
        picture.draft("L" if channels == 1 else "RGB", (2 * size, 2 * size))  # a large JPEG is reduced as it is decoded
        picture.load()
        colours = _colour_of_16_bits(data)
        if colours is not None:
            picture = _reduced(colours, white=white or _white(colours[..., :3], name=name))
        upright = ImageOps.exif_transpose(picture)
        plain = _eight_bits(upright, name=name, white=white).convert("L" if channels == 1 else "RGB")
        if fit == "field":
            plain = _field(plain)
        if plain.size != (size, size):
            plain = plain.resize((size, size), Image.Resampling.BILINEAR)
    except FAULTS as error:
        raise DataError(f"{name}: damaged or truncated ({_short(error)}); copy it again from its source") from None
    pixels = np.asarray(plain, np.uint8).reshape(size, size, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def mask(data: bytes, *, name: str, size: int) -> NDArray[np.uint8]:
    """Return the region drawn in ``data`` as uint8 (1, size, size) in {0, 1}: what is at least half covered."""
    return (image(data, name=name, size=size, channels=1) >= 128).astype(np.uint8)


def shallow(head: bytes) -> bool:
    """Tell by the first 25 bytes or more of a file that it has 8 bits a channel; False where more must be read."""
    return head.startswith(b"\xff\xd8\xff") or (head.startswith(b"\x89PNG\r\n\x1a\n") and head[24:25] in BIT_DEPTHS)


def white_level(data: bytes, *, name: str) -> float | None:
    """Return which level of a deep picture is white; None if the picture has 8 bits a channel.

    It is the largest level of the smallest of 8, 12 and 16 bits that hold the brightest pixel: scanners store 12 bits
    in 16-bit files, which would come out black if 65,535 were white. Of floats it is 1.
    """
    try:
        picture = _open(data, name=name)
        colours = _colour_of_16_bits(data)
        if colours is not None:
            return _white(colours[..., :3], name=name)
        return _white(np.asarray(picture), name=name) if _deep(picture) else None
    except FAULTS as error:
        raise DataError(f"{name}: damaged or truncated ({_short(error)}); copy it again from its source") from None


def form(data: bytes, *, name: str) -> str:
    """Return the size, colours and depth of the picture in ``data`` as it is stored: 200 x 150, colour, 8 bits."""
    try:
        picture = _open(data, name=name)
        deep = _colour_of_16_bits(data) is not None
    except FAULTS as error:
        raise DataError(f"{name}: damaged or truncated ({_short(error)}); copy it again from its source") from None
    bits = "16" if deep or picture.mode.startswith("I;16") else "32" if _deep(picture) else "8"
    colours = "grey" if _deep(picture) or picture.mode[0] in "1L" else "colour"
    return f"{picture.width} x {picture.height}, {colours}, {bits} bits"


def named_rightly(data: bytes, name: str) -> bool:
    """Tell whether a file's extension is one of its content's format; True for a file that is no image."""
    try:
        picture = _open(data, name=name)
    except (DataError, *FAULTS):
        return True
    own = {ending for ending, form in Image.registered_extensions().items() if form == picture.format}
    return picture.format == "MPO" or PurePosixPath(name).suffix.lower() in own


def _open(data: bytes, *, name: str) -> Image.Image:
    """Return the opened but not yet decoded picture, or raise a ``DataError`` that says what the bytes are."""
    if not data:
        raise DataError(f"{name}: empty (0 bytes); copy it again from its source")
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{name}: claims more than {LARGEST:,} pixels; resize it or leave it out") from None
    except UnidentifiedImageError:
        raise DataError(f"{name}: not an image but {_kind(data)}; export it as PNG or JPEG, or remove it") from None
    if picture.width * picture.height > LARGEST:
        raise DataError(f"{name}: {picture.width} x {picture.height} pixels, more than {LARGEST:,}; resize it")
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":  # MPO is a camera's JPEG; its first frame is the photograph
        raise DataError(f"{name}: holds {frames} pictures; save the one that is meant as a file of its own")
    return picture


def _deep(picture: Image.Image) -> bool:
    """Tell whether a picture has one channel of more than 8 bits."""
    return picture.mode.startswith(("I", "F"))


def _eight_bits(picture: Image.Image, *, name: str, white: float | None) -> Image.Image:
    """Return ``picture`` with 8 bits a channel and no transparency (black behind it)."""
    if _deep(picture):
        values = np.asarray(picture)
        own = _white(values, name=name)
        if white is not None and own == 1 < white and values.any():
            high = f"{float(values.max()):g}"
            raise DataError(f"{name}: floats up to {high} where white is {white:,.0f}; save all images on one scale")
        levels = values.astype(np.float64) * (255 / (white or own))
        return Image.fromarray(np.rint(levels.clip(0, 255)).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        opaque = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", opaque.size, (0, 0, 0, 255)), opaque).convert("RGB")
    if picture.mode in ("P", "CMYK", "YCbCr", "HSV", "LAB"):
        return picture.convert("RGB")
    return picture


def _colour_of_16_bits(data: bytes) -> NDArray[np.uint16] | None:
    """Return the pixels, (height, width, 3 or 4), of a PNG of 16 bits in each colour, of which Pillow keeps 8."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or data[24:26] not in (b"\x10\x02", b"\x10\x06"):
        return None
    high, low = (Image.open(io.BytesIO(data), formats=("PNG",)) for _ in range(2))
    low.tile = [tile._replace(args=_of_lower_bytes(tile.args)) for tile in low.tile]
    return np.asarray(np.asarray(high).astype(np.uint16) * 256 + np.asarray(low), np.uint16)


def _of_lower_bytes(args: Any) -> Any:
    """Return a PNG decoder's arguments with the other order of bytes: it then keeps the lower one of each two."""
    if isinstance(args, tuple):
        return tuple(_of_lower_bytes(each) for each in args)
    return args.replace(";16B", ";16L") if isinstance(args, str) else args


def _reduced(values: NDArray[np.uint16], *, white: float) -> Image.Image:
    """Return colours of 16 bits, (height, width, 3 or 4), as a picture of 8 bits, black behind what is transparent."""
    levels = values[..., :3] * (255 / white)
    if values.shape[2] == 4:
        levels = levels * (values[..., 3:] / 65535)
    return Image.fromarray(np.rint(levels.clip(0, 255)).astype(np.uint8))


def _white(values: NDArray[np.generic], *, name: str) -> float:
    """Return the white of deep grey ``values`` (height, width); floats must lie in [0, 1]."""
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return 1.0
    if low >= 0 and high <= 65535:
        return next(float(2**bits - 1) for bits in (8, 12, 16) if high < 2**bits)
    raise DataError(f"{name}: values from {low:g} to {high:g}; save it with values from 0 to 65535")


def _field(picture: Image.Image) -> Image.Image:
    """Return the bounding box of what is not black, padded with black to a square; all of it if all is black."""
    box = picture.convert("L").point(lambda level: 255 * (level > FIELD_LEVEL)).getbbox()
    field = picture.crop(box) if box else picture
    edge = max(field.size)
    square = Image.new(picture.mode, (edge, edge))
    square.paste(field, ((edge - field.width) // 2, (edge - field.height) // 2))
    return square


def _kind(data: bytes) -> str:
    """Return what bytes that are no image most likely are."""
    starts = {b"%PDF": "a PDF", b"PK\x03\x04": "a zip", b"\x1f\x8b": "a gzip", b"\x93NUMPY": "a NumPy array"}
    if data[128:132] == b"DICM":
        return "a DICOM file"
    if data.lstrip()[:1] == b"<":
        return "a web page or XML"
    if data.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer"
    return next((kind for start, kind in starts.items() if data.startswith(start)), "unknown bytes")


def _short(error: Exception) -> str:
    """Return the first line of an error's text."""
    return (str(error).splitlines() or [type(error).__name__])[0]
