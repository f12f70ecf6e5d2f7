"""The one hierarchy of errors: what happened, the database's state, the next command."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the process tells its caller. Stable for ever."""

    OK = 0
    FINDINGS = 1
    USAGE = 2
    PENDING = 3
    CONFIG = 4
    CONNECT = 5
    BUSY = 6
    REFUSED = 7
    ROLLED_BACK = 8
    PARTIAL = 9
    BACKUP = 10
    NOT_CONFIRMED = 11
    BUG = 70
    INTERRUPTED = 130
    TERMINATED = 143


class Touched(StrEnum):
    """What is true of the database after an error."""

    NOTHING = "nothing"
    ROLLED_BACK = "rolled back"
    RESUMABLE = "resumable"
    UNKNOWN = "unknown"

    @property
    def sentence(self) -> str:
        """Say it to the operator."""
        return _SENTENCES[self]


_SENTENCES = {
    Touched.NOTHING: "nothing was changed",
    Touched.ROLLED_BACK: "everything this run did was undone",
    Touched.RESUMABLE: (
        "what was committed stays and is complete in itself; the same command goes on from there"
    ),
    Touched.UNKNOWN: "not known; opssight-migrate status tells",
}


class MigrateError(Exception):
    """Something the operator must hear of.

    ``hint`` is a command or an action to do next, ``where`` the place (a file and key, an
    object of the database), ``sqlstate`` the server's code; each is None where there is none.
    """

    code: ClassVar[str] = "OM700"
    exit_code: ClassVar[ExitCode] = ExitCode.BUG
    touched: Touched = Touched.NOTHING

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        where: str | None = None,
        sqlstate: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where
        self.sqlstate = sqlstate


class UsageError(MigrateError):
    """An option or argument that cannot be meant."""

    code = "OM101"
    exit_code = ExitCode.USAGE


class ConfigError(MigrateError):
    """The configuration cannot be read, or says something impossible."""

    code = "OM102"
    exit_code = ExitCode.CONFIG


class UnknownEnvironmentError(ConfigError):
    """No such environment in the configuration."""

    code = "OM103"


class MarkerError(ConfigError):
    """The database remembers another environment's name, or is a copy of another one."""

    code = "OM104"


class ConnectError(MigrateError):
    """The server cannot be reached, or does not let us in."""

    code = "OM201"
    exit_code = ExitCode.CONNECT


class EmbeddedServerError(ConnectError):
    """The embedded PostgreSQL is not installed, or does not start."""

    code = "OM202"


class RefusedError(MigrateError):
    """A precondition said no, before anything was changed."""

    code = "OM301"
    exit_code = ExitCode.REFUSED


class ShapeError(RefusedError):
    """The catalogue is none that OpsSight made, or differs from the one of its revision."""

    code = "OM302"


class PrivilegeError(RefusedError):
    """The role may not do what the run needs."""

    code = "OM303"


class StandbyError(RefusedError):
    """The server is a standby, which cannot be written to."""

    code = "OM304"


class PoolerError(RefusedError):
    """A transaction-mode pooler stands between us and the server."""

    code = "OM305"


class RowsWouldBeLostError(RefusedError):
    """A downgrade would take rows with it."""

    code = "OM306"


class ServerTooOldError(RefusedError):
    """PostgreSQL older than 13."""

    code = "OM307"


class PublishedError(RefusedError):
    """A table we change is replicated logically, and DDL is not replicated."""

    code = "OM308"


class OldReleaseError(RefusedError):
    """The release that is at work sends statements that would no longer be accepted."""

    code = "OM309"


class StalePlanError(RefusedError):
    """The saved plan does not hold any more: the database moved between review and run."""

    code = "OM313"


class OperatorError(RefusedError):
    """The environment names its operators, and this is none of them."""

    code = "OM314"


class ClientToolError(RefusedError):
    """pg_dump or pg_restore is missing, or of a version that does not fit."""

    code = "OM321"


class ForeignBackupError(RefusedError):
    """A backup of another database or of another environment."""

    code = "OM322"


class BackupPolicyError(RefusedError):
    """The profile requires a backup and does not say how to make one."""

    code = "OM323"


class UnsafeScriptError(RefusedError):
    """A plain SQL file holds a command that psql itself would carry out, or hides one."""

    code = "OM324"


class WrittenMeanwhileError(RefusedError):
    """Rows were written between the question and the swap, and nobody was to be connected."""

    code = "OM325"


class NoRoomError(RefusedError):
    """The disk of the backups has less room than the next one is going to need."""

    code = "OM326"


class BusyError(MigrateError):
    """Somebody else holds what we need; the same command may be tried again."""

    code = "OM401"
    exit_code = ExitCode.BUSY


class LockBudgetError(BusyError):
    """A lock could not be had within the budget; the message names the blocker."""

    code = "OM402"
    touched = Touched.RESUMABLE


class HeldUpError(BusyError):
    """The governor waited for others for its whole budget; the message says for whom."""

    code = "OM403"
    touched = Touched.RESUMABLE


class PartialError(MigrateError):
    """The run stopped between two known states; running again goes on."""

    code = "OM501"
    exit_code = ExitCode.PARTIAL
    touched = Touched.RESUMABLE


class StatementError(PartialError):
    """The server refused a statement. ``sqlstate`` says why."""

    code = "OM502"


class ConnectionLostError(PartialError):
    """The connection broke in the middle of the work."""

    code = "OM503"


class StaleRunError(PartialError):
    """Another run began after this one, so this one may not write any more."""

    code = "OM504"


class StepFailedError(PartialError):
    """A step did what it should, and its own verification disagrees."""

    code = "OM505"


class RowsDifferError(StepFailedError):
    """Rows are not what they were, though nobody else wrote them: look before anything is done."""

    code = "OM507"


class RolledBackError(MigrateError):
    """A run failed in a way that running again cannot cure, and was undone."""

    code = "OM508"
    exit_code = ExitCode.ROLLED_BACK
    touched = Touched.ROLLED_BACK


class DeadlineError(MigrateError):
    """The time that --deadline gave is over; what was begun goes on with the next run."""

    code = "OM509"
    exit_code = ExitCode.PARTIAL


class DiskFullError(PartialError):
    """The server's disk (53100), or ours, is full."""

    code = "OM506"


class NotConfirmedError(MigrateError):
    """The operator declined, or nobody could answer."""

    code = "OM601"
    exit_code = ExitCode.NOT_CONFIRMED


class InterruptedRunError(MigrateError):
    """SIGINT or SIGTERM, handled: the work in flight was finished or rolled back."""

    code = "OM602"
    exit_code = ExitCode.INTERRUPTED
    touched = Touched.RESUMABLE


class TerminatedRunError(InterruptedRunError):
    """SIGTERM, handled."""

    code = "OM603"
    exit_code = ExitCode.TERMINATED


class BackupError(MigrateError):
    """A backup is missing, or could not be made."""

    code = "OM801"
    exit_code = ExitCode.BACKUP


class DamagedBackupError(BackupError):
    """A backup is not, byte for byte, what was written."""

    code = "OM802"


class WrongKeyError(BackupError):
    """A backup cannot be opened with the identity that was given."""

    code = "OM803"


class ManifestError(BackupError):
    """The manifest beside a backup is missing, unreadable or not the one that was signed."""

    code = "OM804"


class NotProvenError(BackupError):
    """A backup was restored, and what came out is not what went in."""

    code = "OM805"
