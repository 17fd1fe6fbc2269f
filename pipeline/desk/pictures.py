"""Pictures that customers send: told by their content, bounded, and written anew without what a camera adds.

Pillow (MIT-CMU) reads them. A photo of a screen carries the place where it was taken; only the picture itself is kept.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

# A screen has some millions of points; more than this is no screenshot, and would take its memory to read.
MOST_POINTS = 40_000_000
# What is read -> how it is kept.
_KEPT = {"PNG": "PNG", "JPEG": "JPEG", "WEBP": "JPEG"}
ACCEPTED = ("image/png", "image/jpeg", "image/webp")


class NoPicture(ValueError):
    """The bytes are none of the pictures that are taken."""


@dataclass(frozen=True)
class Picture:
    """A picture as it is kept."""

    data: bytes
    media_type: str

    @property
    def sha256(self) -> str:
        """The digest of its bytes."""
        return hashlib.sha256(self.data).hexdigest()


def read_picture(data: bytes) -> Picture:
    """The picture in `data`, a PNG, JPEG or WebP, whatever its name says. Raises `NoPicture`; equal bytes give equal bytes."""
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data), formats=tuple(_KEPT)) as found:
            _bounded(found.width, found.height)
            form = _KEPT[found.format or ""]
            upright = ImageOps.exif_transpose(found)
            clean = Image.new("RGB" if form == "JPEG" else "RGBA", upright.size, "white")
            clean.paste(upright.convert(clean.mode))
    except NoPicture:
        raise
    # Pillow's readers raise whatever a broken file makes of them.
    except Exception as error:
        raise NoPicture(f"{type(error).__name__}: {error}") from error
    out = io.BytesIO()
    clean.save(out, form, quality=90)
    return Picture(out.getvalue(), f"image/{form.lower()}")


def _bounded(width: int, height: int) -> None:
    """The size stands in a picture's head, before anything is unpacked."""
    if width * height > MOST_POINTS:
        raise NoPicture(f"{width} x {height} points are too many")
