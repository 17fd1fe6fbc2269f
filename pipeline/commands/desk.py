"""`problem-snapshot desk ...`: the service desk around the snapshot."""

from __future__ import annotations

import click

from pipeline.commands.desk_knowledge import ask, knowledge
from pipeline.commands.desk_tasks import tasks


@click.group("desk")
def desk() -> None:
    r"""Ask what is known, keep it in order, and write down what a solved ticket teaches.

    \b
    problem-snapshot desk ask "the report loads slowly"
    problem-snapshot desk knowledge check
    problem-snapshot desk tasks list
    """


for _command in (ask, knowledge, tasks):
    desk.add_command(_command)
