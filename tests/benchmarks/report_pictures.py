"""The HTML report as Chromium shows it: light and dark, wide and narrow, and printed.

``python tests/benchmarks/report_pictures.py FOLDER`` migrates the sample, plants faults whose names
are hostile, lets ``verify`` write its report, and puts the pictures into FOLDER, to be looked at.
Ends with 1 where a text became a script, and where there is no Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import psycopg  # noqa: E402
from tests.benchmarks.verify_footprint import command, configured, migrated_sample  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
_LONG = "a_name_that_is_as_long_as_PostgreSQL_lets_a_name_be_and_no_long"
_FAULTS = (
    """CREATE UNIQUE INDEX "<script>document.title='run'</script> [red]" ON alerts (title, id)""",
    f"CREATE VIEW {_LONG} AS SELECT id FROM users",
    "DROP INDEX ix_users_email",
    "ALTER TABLE projects DROP CONSTRAINT projects_team_id_fkey",
    "UPDATE alerts SET title = title || '.' WHERE id = (SELECT min(id) FROM alerts)",
    "DELETE FROM audit_configurations WHERE operation = 'LOGIN'",
    "UPDATE user_roles SET is_active = false WHERE user_id % 3 = 0",
)
# Name, size of the window in pixels, further options.
_DARK = "--blink-settings=preferredColorScheme=0"
_PICTURES = (
    ("light-wide", "1400,4200", ()),
    ("dark-wide", "1400,4200", (_DARK,)),
    ("light-narrow", "500,6000", ()),
    ("dark-narrow", "500,6000", (_DARK,)),
)


def report_of_faults(folder: Path) -> Path:
    """Write the report of a database with faults, and return its path."""
    page = folder / "report.html"
    with migrated_sample(0.05) as (conninfo, home):
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for fault in _FAULTS:
                connection.execute(fault.encode())
        config = configured(conninfo, home)
        verify = command(config, home, "verify", "--show-sql", "-q", "--report", str(page))
        subprocess.run(verify, check=False)
    return page


def shown(browser: str, page: Path, folder: Path) -> list[str]:
    """Take the pictures; return what is not as it should be."""
    common = (browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
    for name, size, options in _PICTURES:
        picture = folder / f"{name}.png"
        given = (f"--screenshot={picture}", f"--window-size={size}", *options)
        subprocess.run([*common, *given, page.as_uri()], check=True, capture_output=True)
    printed = f"--print-to-pdf={folder / 'printed.pdf'}"
    subprocess.run([*common, printed, page.as_uri()], check=True, capture_output=True)
    dumped = subprocess.run(
        [*common, "--dump-dom", page.as_uri()], check=True, capture_output=True, text=True
    )
    faults = []
    if "<title>run" in dumped.stdout or "<script" in dumped.stdout:
        faults.append("a text became a script")
    return faults


def main() -> int:
    """Write, show and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(f"none of {', '.join(BROWSERS)} is on PATH")  # noqa: T201
        return 1
    faults = shown(browser, report_of_faults(folder), folder)
    print(*(f"FAULT: {fault}" for fault in faults), f"look at {folder}", sep="\n")  # noqa: T201
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
