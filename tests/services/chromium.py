"""Debian's Chromium, for pages that are looked at in a real browser. Each test starts its own, without a window."""

from __future__ import annotations

import shutil

from tests.services import Unavailable, install_packages

NAME = "chromium"


def install() -> str:
    """Brings Chromium with a font for Chinese, and gives the path of its program. Raises `Unavailable` where it cannot be had."""
    if shutil.which(NAME) is None:
        install_packages(NAME, "fonts-noto-cjk")
    program = shutil.which(NAME)
    if program is None:
        reason = "the package chromium brought no program of that name"
        raise Unavailable(reason)
    return program
