"""`problem-snapshot desk ...`: what the service desk does around a snapshot."""

from __future__ import annotations

import click

from pipeline.commands.desk_grading import COMMANDS


@click.group("desk")
def desk() -> None:
    """The service desk around the snapshot.

    \b
    problem-snapshot desk due                   which ticket to take first
    problem-snapshot desk severity TK-1042      how grave it is, and why
    """


for _command in COMMANDS:
    desk.add_command(_command)
