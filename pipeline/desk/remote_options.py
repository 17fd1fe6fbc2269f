"""The table `[desk.remote]` of the settings: what the desk may ask a customer's machine for.

[defaults.desk.remote]
folders = ["/var/log/shop", "/opt/shop/logs"]
screen = "https://meet.example.com/support"
screen_hosts = ["meet.example.com"]
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=366 * 86400)]


class RemoteOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be asked for, how much, and how long it is kept.

    `name` is who asks, as the customer reads it. What is asked for lies below one of `folders`. `max_bytes` bounds the text
    that is taken and the bundle that is sent, `max_files` the files. A link holds `link_holds` seconds; what was uploaded is
    kept `keep` seconds, in `folder`, which every process of the service sees. `screen` is the team's screen sharing, a plain
    link that may ride along where its host is one of `screen_hosts`. `install` is the command by which customers get the program.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] = "Support"
    folders: tuple[str, ...] = ("/var/log",)
    max_bytes: Annotated[int, msgspec.Meta(ge=1024, le=16 << 30)] = 2 << 30
    max_files: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200
    link_holds: Seconds = 3 * 86400.0
    keep: Seconds = 30 * 86400.0
    folder: str | None = None
    screen: str | None = None
    screen_hosts: tuple[str, ...] = ()
    install: Annotated[str, msgspec.Meta(min_length=1, max_length=300)] | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot work."""
        for folder in self.folders:
            if not folder.startswith(("/", "~/")) or ".." in PurePosixPath(folder).parts or "*" in folder:
                raise ValueError(f"folders: {folder!r} is no folder from the root, such as /var/log/shop")
        if self.screen is not None:
            self.check_screen(self.screen)
        if self.install is not None and not self.install.isprintable():
            raise ValueError(f"install: {self.install!r} is no command of one line")

    def check_screen(self, url: str) -> str:
        """The link, once it is one that may ride along. Raises `ValueError`."""
        place = urlsplit(url)
        if place.scheme != "https" or place.username or not url.isprintable() or " " in url:
            raise ValueError(f"screen: {url!r} is no https address")
        if place.hostname not in self.screen_hosts:
            known = ", ".join(self.screen_hosts) or "none"
            raise ValueError(f"screen: {place.hostname!r} is not one of screen_hosts ({known})")
        return url

    def check_path(self, path: str) -> str:
        """The file or glob, once it is one that may be asked for. Raises `ValueError`.

        >>> RemoteOptions(folders=("/var/log",)).check_path("/var/log/shop/*.log")
        '/var/log/shop/*.log'
        """
        if not path.isprintable() or ".." in PurePosixPath(path).parts:
            raise ValueError(f"{path!r} is no path that can be asked for")
        if not any(path.startswith(folder.rstrip("/") + "/") for folder in self.folders):
            raise ValueError(f"{path!r} is below none of desk.remote.folders ({', '.join(self.folders)})")
        return path

    @property
    def uploads(self) -> str:
        """The folder of uploads; in the user's data folder where none is configured."""
        if self.folder:
            return self.folder
        import platformdirs  # only when no folder is configured

        return str(platformdirs.user_data_path("problem-snapshot", appauthor=False) / "uploads")
