"""Alembic's environment: the engine's own connection, else ``-x url=…`` or DATABASE_URL."""

import os

from alembic import context
from alembic.util import CommandError

from opssight_migrate.postgres import chain

if context.is_offline_mode():
    raise CommandError(
        "--sql cannot work here: the revisions look at the database before each statement"
        " (which is what makes them repeatable), and offline there is none to look at"
    )

chain.run_environment(
    context.config,
    context.get_x_argument(as_dictionary=True).get("url") or os.environ.get("DATABASE_URL"),
)
