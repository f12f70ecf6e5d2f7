"""``opssight-migrate init``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from opssight_migrate.cli.options import Shared, with_shared
from opssight_migrate.model.errors import UsageError

if TYPE_CHECKING:
    from opssight_migrate.cli.stage import Stage
    from opssight_migrate.model.report import Report

# Inside an installed wheel, else in the checkout, where it is the project's own.
_PACKAGE = Path(__file__).parent.parent
_INSTALLED = _PACKAGE / "opssight.toml"
_TEMPLATE = _INSTALLED if _INSTALLED.is_file() else _PACKAGE.parent.parent / "opssight.toml"


@with_shared
def init(shared: Shared) -> None:
    """Write a commented opssight.toml to begin with; a file that is there is never touched.

    \b
    Example:
      opssight-migrate init
    """
    from opssight_migrate.cli.stage import Stage

    def work(_: Stage) -> Report:
        from opssight_migrate.cli.failures import TOOL
        from opssight_migrate.model.report import Artifact, Next, Report, utc_now

        path = shared.config or Path("opssight.toml")
        text = _TEMPLATE.read_text("utf-8")
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise UsageError(
                f"{path} is there already, and is left as it is",
                hint=f"edit {path}, or name another file with --config",
            ) from None
        except OSError as error:
            raise UsageError(
                f"cannot write {path}: {error.strerror}", hint="name another file with --config"
            ) from None
        return Report(
            tool=TOOL,
            command="init",
            status="ok",
            exit_code=0,
            started_at=utc_now(),
            duration_ms=0,
            artifacts=(Artifact(kind="configuration", path=str(path), bytes=len(text.encode())),),
            next=(
                Next(command="opssight-migrate status", why="a private sample, to try things with"),
                Next(command="opssight-migrate doctor -e NAME", why="when an environment is in it"),
            ),
        )

    Stage(shared, "init", needs_profile=False).perform(work)
