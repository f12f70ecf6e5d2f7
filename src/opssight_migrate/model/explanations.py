"""What each error code means and what to do, for ``explain``; nothing here needs a connection."""

from __future__ import annotations

from collections.abc import Iterator

from opssight_migrate.model.errors import MigrateError

# What to do. What a code means is the docstring of its class, and its exit code and state are
# the class's too: they are said once.
ADVICE: dict[str, str] = {
    "OM101": "Read the suggestion in the message, or `opssight-migrate COMMAND --help`.",
    "OM102": "Correct the line that is named. `opssight-migrate check --only configuration` looks"
    " at it again, without a database.",
    "OM103": "Name one of the environments of opssight.toml with -e. `opssight-migrate doctor`"
    " says which file was read.",
    "OM104": "Look at where the connection goes: it may be another environment's database. If it"
    " is a restored or cloned copy, adopt it once by typing the environment's name, or with"
    " --confirm NAME.",
    "OM201": "`opssight-migrate doctor -e ENVIRONMENT` shows where each part of the address came"
    " from. Then try the same with psql.",
    "OM202": "Install the server beside the tool: pip install 'opssight-migrate[embedded]'. Or name"
    " a database of your own in opssight.toml.",
    "OM301": "The message names the reason and the SQL that mends it. Nothing was changed; give the"
    " same command again afterwards.",
    "OM302": "Compare the object that is named with what OpsSight made. The help line has the SQL"
    " that brings it back. `opssight-migrate status` lists all differences.",
    "OM303": "Run the GRANT of the help line as a superuser or the owner."
    " `opssight-migrate doctor -e ENVIRONMENT` prints every one that is lacking.",
    "OM304": "Connect to the primary: a standby cannot be written to.",
    "OM305": "Connect to PostgreSQL itself and not through the pooler, or to a pool in session"
    " mode: locks and settings do not survive a transaction-mode pooler.",
    "OM306": "`opssight-migrate rollback` archives these rows; plain Alembic refuses to lose them.",
    "OM307": "Upgrade PostgreSQL to 13 or newer first.",
    "OM308": "Make the columns at the subscriber first, then allow it with --allow OM308.",
    "OM309": "Change or stop what sends the statement that is named, or allow it with"
    " --allow OM309 if nothing sends it any more.",
    "OM313": "Make a new plan with `opssight-migrate migrate -n --plan-out FILE`, and have it"
    " reviewed again.",
    "OM314": "Ask one of the operators whom the message names, or add yourself to the environment's"
    " operators in opssight.toml.",
    "OM321": "Install the PostgreSQL client of the server's version, or a newer one, and put it on"
    " PATH.",
    "OM322": "Name a backup of this database: `opssight-migrate backup list -e ENVIRONMENT`.",
    "OM323": "Give the environment backup_recipients (an age public key) and backup_dir in"
    " opssight.toml.",
    "OM324": "Look at the line that is named. A dump of pg_dump has no such line; take it out, or"
    " make the dump again with pg_dump -Fc.",
    "OM325": "Stop what writes, and give the same command again: the ledger then counts these rows"
    " too. Or allow clients to be ended with --terminate: what they wrote last is then in the old"
    " database only, and told.",
    "OM326": "Make room on that disk, retire old backups (`opssight-migrate cleanup --backups`), or"
    " name another directory as backup_dir.",
    "OM401": "Wait for the run that is named, and give the same command again; --wait waits for it."
    " There is no lock to remove: it ends with its connection.",
    "OM402": "The message names who held the lock. End or wait for that session, and give the same"
    " command again: it goes on from there.",
    "OM403": "The governor waited as long as it may. Look at what it names (a replica, a long"
    " transaction), and give the same command again.",
    "OM501": "Give the same command again: it goes on from the last committed piece.",
    "OM502": "The SQLSTATE says why the server refused. Mend that, then run the same again.",
    "OM503": "Look whether the server is up, and give the same command again.",
    "OM504": "Another run took over. `opssight-migrate history` shows both.",
    "OM505": "`opssight-migrate verify` names what is not as it should be. Running again is safe.",
    "OM506": "Make room on the disk that is named, and give the same command again.",
    "OM507": "Stop, and look before anything else: rows differ although nobody else wrote them."
    " The tables are named; the snapshot from before is in the journal.",
    "OM508": "Everything of the run was undone. Mend what the message names, then start again.",
    "OM509": "Give the same command again, in the next window: it goes on from the last committed"
    " piece.",
    "OM601": "Give the command again with --yes, or with --confirm NAME where the environment is"
    " protected. No variable answers this question.",
    "OM602": "Give the same command again: it goes on from there.",
    "OM603": "Give the same command again: it goes on from there.",
    "OM700": "A mistake of ours. Report it with the log file that the message names; passwords are"
    " masked in it.",
    "OM801": "Look at the folder of the backups and at the message; `opssight-migrate backup list`"
    " shows which ones are whole.",
    "OM802": "Do not use it. Take another one: `opssight-migrate backup list -e ENVIRONMENT`.",
    "OM803": "Name the identity that belongs to the recipient: --identity FILE.",
    "OM804": "Without its manifest a backup cannot be trusted. Take another one.",
    "OM805": "Do not rely on it: make a new one with `opssight-migrate backup create`.",
}

# Warnings that have a code of their own: what each means, and what to do. They end nothing.
WARNINGS: dict[str, tuple[str, str]] = {
    "OM310": (
        "metrics and log_entries stay plain tables, which OpsSight works with as well.",
        "Install TimescaleDB, then run migrate again: it makes hypertables of them, rows or not.",
    ),
    "OM311": (
        "Rows that an earlier rollback archived cannot come home: what they point at is gone.",
        "Look at them in the archive that is named; they are kept until cleanup --archives.",
    ),
    "OM312": (
        "An object on a table of the time series stops it from becoming a hypertable.",
        "Do what the message says of each; the table works as a plain one until then.",
    ),
}


def published() -> dict[str, type[MigrateError]]:
    """Return each error code with its class."""
    kinds: list[type[MigrateError]] = [MigrateError, *_below(MigrateError)]
    return {one.code: one for one in sorted(kinds, key=lambda one: one.code)}


def meanings() -> dict[str, str]:
    """Return what each code of an error or a warning means."""
    errors = {code: meaning(kind) for code, kind in published().items()}
    warnings = {code: what for code, (what, _) in WARNINGS.items()}
    return dict(sorted((errors | warnings).items()))


def meaning(kind: type[MigrateError]) -> str:
    """Return what a code means, as one sentence or two."""
    if kind is MigrateError:
        return "Something unexpected happened: a mistake of this program."
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def _below(kind: type[MigrateError]) -> Iterator[type[MigrateError]]:
    for one in kind.__subclasses__():
        if "code" in vars(one):  # others are a code's special cases
            yield one
        yield from _below(one)
