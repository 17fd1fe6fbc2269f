"""What can go wrong, as one tree.

    SnapshotError                an error with a sentence for a person and an exit code
      UsageError                 the call or the configuration is wrong          exit 2
      TicketNotFound             there is no such ticket                         exit 3
      Refused                    a source or target refused our credentials      exit 4
      NoSourceReached            not one source could be asked                   exit 5
      NotPublished               the publish target took nothing, or not all     exit 8
        TargetUnreachable        it could not be reached or did not answer       exit 5
      NotUploaded                the desk did not take a collected bundle        exit 8
        DeskUnreachable          it could not be reached or did not answer       exit 5
      SourceError                one source failed; the ledger tells, the rest goes on
        SourceRefused            it refused our credentials
        SourceUnavailable        it could not be reached, or did not answer in time
        SourceBroken             it answered something that cannot be read

Each message names the value that was wrong and what to do next. Foreign exceptions are translated where they enter
(`raise ... from error`), so that nothing above a source knows whose client it uses.
"""

from __future__ import annotations


class SnapshotError(Exception):
    """Base of every error that a person is told of; `str(error)` is the sentence."""

    exit_code = 1


class UsageError(SnapshotError):
    """The command line, an environment variable or the configuration file is wrong."""

    exit_code = 2


class TicketNotFound(SnapshotError):
    """No ticket of that id where it was looked for."""

    exit_code = 3


class Refused(SnapshotError):
    """Credentials were refused, and nothing could be done without them."""

    exit_code = 4


class NoSourceReached(SnapshotError):
    """Sources are configured and every one of them failed."""

    exit_code = 5


class NotPublished(SnapshotError):
    """The publish target did not take what was sent to it."""

    exit_code = 8


class TargetUnreachable(NotPublished):
    """The publish target could not be reached or did not answer in time."""

    exit_code = 5


class NotUploaded(SnapshotError):
    """The desk did not take what was collected for it."""

    exit_code = 8


class DeskUnreachable(NotUploaded):
    """The desk could not be reached or did not answer in time."""

    exit_code = 5


class SourceError(SnapshotError):
    """One source failed. It becomes a row of the coverage ledger and never stops the rest."""


class SourceRefused(SourceError):
    """The source refused our credentials."""


class SourceUnavailable(SourceError):
    """The source could not be reached or did not answer in time."""


class SourceBroken(SourceError):
    """The source answered something that cannot be read, or lacks what it must have."""
