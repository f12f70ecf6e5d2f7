"""Where a setting comes from, which one wins, and what is said of one that cannot be meant."""

from __future__ import annotations

import textwrap
import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from opssight_migrate.model.errors import ConfigError, ExitCode, UnknownEnvironmentError
from opssight_migrate.settings import Settings, duration, load

SECRET = "hunter2"

EXAMPLE = """
    [project]
    default_environment = "local"
    target_revision = "80bd6a3c3fa1"

    [defaults]
    lock_budget = "5m"
    batch_target = "40ms"
    on_failure = "stop"

    [tenancy]
    default_organization = { name = "Acme", slug = "acme" }

    [rbac]
    default_role = "none"

    [time_series]
    engine = "plain"
    compress_after = { metrics = "14d", log_entries = "36h" }

    [environments.local]
    url = "embedded"

    [environments.staging]
    service = "opssight_staging"
    lock_budget = "30s"

    [environments.eu-west]
    tls = "off"

    [environments.production]
    url_env = "DATABASE_URL"
    protected = true
"""

Written = Callable[..., Settings]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Load this text as opssight.toml, with these environment variables."""

    def load_it(text: str, env: Mapping[str, str] | None = None) -> Settings:
        (tmp_path / "opssight.toml").write_text(textwrap.dedent(text).lstrip("\n"))
        return load(cwd=tmp_path, env=env or {})

    return load_it


def refusal(written: Written, text: str, env: Mapping[str, str] | None = None) -> str:
    """The message of the ConfigError that this text deserves."""
    with pytest.raises(ConfigError) as caught:
        written(text, env)
    assert caught.value.exit_code is ExitCode.CONFIG
    assert SECRET not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("40ms", timedelta(milliseconds=40)),
        ("2.5 ms", timedelta(milliseconds=2.5)),
        ("5m", timedelta(minutes=5)),
        ("1h30m", timedelta(minutes=90)),
        ("7d", timedelta(days=7)),
        ("0.5s", timedelta(milliseconds=500)),
    ],
)
def test_a_duration_is_a_number_with_a_unit(text: str, meant: timedelta) -> None:
    assert duration(text) == meant


@pytest.mark.parametrize(
    "value", [5, 0.5, True, "5", "", "soon", "0s", "-5m", "0ms", "9" * 30 + "d"]
)
def test_a_duration_without_sense_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration(value)


def test_the_whole_file_is_read(written: Written) -> None:
    settings = written(EXAMPLE)
    staging = settings.profile("staging")

    assert staging.service == "opssight_staging"
    assert staging.lock_budget == timedelta(seconds=30)
    assert staging.batch_target == timedelta(milliseconds=40)
    assert staging.target_revision == "80bd6a3c3fa1"
    assert staging.tenancy.default_organization.slug == "acme"
    assert staging.rbac.default_role == "none"
    assert staging.time_series.engine == "plain"
    assert staging.time_series.compress_after.log_entries == timedelta(hours=36)
    assert settings.profile("production").protected
    assert settings.profile("eu-west").tls == "off"


def test_without_a_file_there_is_the_embedded_local_environment(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()

    profile = load(cwd=tmp_path, env={}).profile(None)

    assert profile.name == "local"
    assert profile.is_embedded
    assert not profile.protected
    assert profile.origin == "built-in default"
    assert profile.lock_budget == timedelta(minutes=5)
    assert profile.rbac.default_role == "VIEWER"


def test_a_file_that_does_not_speak_of_local_keeps_it(written: Written) -> None:
    assert written('[environments.staging]\nservice = "x"').profile("local").is_embedded


def test_the_file_is_found_from_below(written: Written, tmp_path: Path) -> None:
    written(EXAMPLE)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)

    assert load(cwd=below, env={}).profile("staging").origin == "../../opssight.toml:24"


@pytest.mark.parametrize("border", [".git", "home"])
def test_the_search_ends_at_the_repository_and_at_home(
    written: Written, tmp_path: Path, border: str
) -> None:
    written(EXAMPLE)
    here = tmp_path / "here" / "below"
    here.mkdir(parents=True)
    env = {"HOME": str(here.parent)} if border == "home" else {}
    if border == ".git":
        (here.parent / ".git").mkdir()

    assert set(load(cwd=here, env=env).environments) == {"local"}


def test_the_option_wins_over_the_variable_and_the_variable_over_the_search(
    written: Written, tmp_path: Path
) -> None:
    written(EXAMPLE)
    (tmp_path / "one.toml").write_text('[environments.one]\nservice = "x"')
    (tmp_path / "two.toml").write_text('[environments.two]\nservice = "x"')
    env = {"OPSSIGHT_CONFIG": str(tmp_path / "one.toml")}

    assert "one" in load(cwd=tmp_path, env=env).environments
    assert "two" in load(Path("two.toml"), cwd=tmp_path, env=env).environments


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml"):
        load(Path("gone.toml"), cwd=tmp_path, env={})
    with pytest.raises(ConfigError, match=r"gone\.toml"):
        load(cwd=tmp_path, env={"OPSSIGHT_CONFIG": "gone.toml"})


@pytest.mark.parametrize(
    "content", [f'url = "{SECRET}'.encode(), b"\xff\xfe", f"{SECRET}".encode()]
)
def test_a_file_that_is_no_toml_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "opssight.toml").write_bytes(content)

    with pytest.raises(ConfigError, match=r"opssight\.toml") as caught:
        load(cwd=tmp_path, env={})
    assert SECRET not in caught.value.message


def test_an_unknown_key_is_refused_with_the_nearest_one(written: Written) -> None:
    said = refusal(written, f'[environments.staging]\n\nurll = "postgres://a:{SECRET}@h/x"')

    assert said == ("opssight.toml:3: environments.staging.urll: unknown key; did you mean 'url'?")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[environmnets.x]", "did you mean 'environments'?"),
        ("[defaults]\nlock_bugdet = '1m'", "did you mean 'lock_budget'?"),
        ("[time_series]\ncompress_after = { metric = '1d' }", "did you mean 'metrics'?"),
        ("[zzz]\nkeep_last = 3", "known are cleanup, defaults, environments, governor"),
        (
            "[defaults]\nzzz = 'auto'",
            "known are backup, backup_dir, backup_identity_command, backup_jobs, "
            "backup_manifest_key, backup_passphrase_command, backup_plain, backup_recipients, "
            "batch_target, lock_budget, on_failure, stall_budget",
        ),
    ],
)
def test_a_typo_anywhere_is_refused(written: Written, text: str, said: str) -> None:
    assert said in refusal(written, text)


def test_all_mistakes_are_told_at_once_with_their_lines(written: Written) -> None:
    said = refusal(
        written,
        """
        [defaults]
        lock_budget = 300
        on_failure = "undo"

        [rbac]
        default_role = "viewer"

        [environments.staging]
        url = 5
        protected = "perhaps"
        """,
    )

    assert said.startswith("5 mistakes")
    assert "opssight.toml:2: defaults.lock_budget: a duration is text with a unit" in said
    assert "opssight.toml:3: defaults.on_failure: must be 'rollback' or 'stop'" in said
    assert "opssight.toml:6: rbac.default_role: must be 'SUPER_ADMIN', 'ADMIN'" in said
    assert "opssight.toml:9: environments.staging.url: must be a valid string" in said
    assert "opssight.toml:10: environments.staging.protected: must be a valid boolean" in said


@pytest.mark.parametrize(
    "text",
    [
        "environments = 5",
        "[environments]\nstaging = 5",
        "environments = [1]",
        "[environments.Staging]",
        "[environments.'a b']",
        "[environments.staging]\nurl = ''",
        "project = 5",
        "[tenancy]\ndefault_organization = { name = '' }",
        "[tenancy]\ndefault_organization = { slug = 'Not A Slug' }",
    ],
)
def test_a_value_of_the_wrong_shape_is_refused(written: Written, text: str) -> None:
    said = refusal(written, text, {"OPSSIGHT_ENVIRONMENTS__STAGING__TLS": "off"})

    assert "opssight.toml" in said


def test_an_environment_says_once_where_its_database_is(written: Written) -> None:
    said = refusal(written, f'[environments.x]\nurl = "postgres://a:{SECRET}@h/x"\nservice = "y"')

    assert said == "opssight.toml:1: environments.x: url and service are given: keep one of them"


def test_an_unknown_environment_is_told_with_the_nearest_name(written: Written) -> None:
    with pytest.raises(UnknownEnvironmentError, match="did you mean 'staging'") as caught:
        written(EXAMPLE).profile("stagin")
    assert "production" in str(caught.value.hint)


def test_the_default_environment_must_exist_and_not_be_protected(written: Written) -> None:
    chosen = '[project]\ndefault_environment = "{}"\n[environments.live]\nprotected = true\n'

    assert "did you mean 'live'" in refusal(written, chosen.format("lives"))
    said = refusal(written, chosen.format("live"))
    assert said.startswith("opssight.toml:2: project.default_environment: ")
    assert "-e live" in said


def test_a_variable_may_name_the_default_environment_but_no_protected_one(
    written: Written,
) -> None:
    assert written(EXAMPLE, {"OPSSIGHT_ENVIRONMENT": "staging"}).profile(None).name == "staging"
    said = refusal(written, EXAMPLE, {"OPSSIGHT_ENVIRONMENT": "production"})
    assert said.startswith("OPSSIGHT_ENVIRONMENT: ")


def test_a_variable_wins_over_the_file(written: Written) -> None:
    settings = written(
        EXAMPLE,
        {
            "OPSSIGHT_ENVIRONMENTS__STAGING__LOCK_BUDGET": "10s",
            "OPSSIGHT_TIME_SERIES__COMPRESS_AFTER__METRICS": "1d",
            "OPSSIGHT_ENVIRONMENTS__CI__URL": "postgres://localhost/ci",
        },
    )
    staging = settings.profile("staging")

    assert staging.lock_budget == timedelta(seconds=10)
    assert staging.service == "opssight_staging"
    assert staging.time_series.compress_after.metrics == timedelta(days=1)
    assert staging.time_series.compress_after.log_entries == timedelta(hours=36)
    assert settings.profile("ci").origin == "OPSSIGHT_ENVIRONMENTS__CI__URL"


def test_a_url_in_a_variable_replaces_the_service_in_the_file(written: Written) -> None:
    variable = "OPSSIGHT_ENVIRONMENTS__STAGING__URL"

    profile = written(EXAMPLE, {variable: "postgres://localhost/x"}).profile("staging")

    assert profile.url is not None
    assert profile.service is None
    assert profile.origin == variable
    assert profile.lock_budget == timedelta(seconds=30)


def test_the_name_of_an_environment_may_hold_a_hyphen_and_any_case(written: Written) -> None:
    env = {"OPSSIGHT_ENVIRONMENTS__EU_WEST__SERVICE": "eu"}

    settings = written(EXAMPLE, env)

    assert settings.profile("eu-west").service == "eu"
    assert settings.profile("eu-west").tls == "off"
    assert "eu_west" not in settings.environments


def test_variables_that_are_not_ours_are_ignored(written: Written) -> None:
    env = {"OPSSIGHT_VERSION": "1", "OPSSIGHT_PROJECT": "x", "OPSSIGHT_OTHER__THING": "x"}

    assert written(EXAMPLE, env).digest() == written(EXAMPLE).digest()


def test_a_typo_in_a_variable_is_refused_by_its_name(written: Written) -> None:
    said = refusal(written, EXAMPLE, {"OPSSIGHT_ENVIRONMENTS__STAGING__URLL": SECRET})

    assert said.startswith("OPSSIGHT_ENVIRONMENTS__STAGING__URLL: ")
    assert "did you mean 'url'" in said


@pytest.mark.parametrize(
    "variable",
    [
        "OPSSIGHT_ENVIRONMENTS__STAGING",
        "OPSSIGHT_TENANCY__DEFAULT_ORGANIZATION",
        "OPSSIGHT_ENVIRONMENTS__STAGING__URL__MORE",
        "OPSSIGHT_PROJECT__",
    ],
)
def test_a_variable_that_names_no_key_is_refused(written: Written, variable: str) -> None:
    said = refusal(written, EXAMPLE, {variable: SECRET})

    assert said.startswith(variable)
    assert "instance" not in said


@pytest.mark.parametrize("value", ["false", "true"])
def test_no_variable_takes_the_protection_away(written: Written, value: str) -> None:
    variable = "OPSSIGHT_ENVIRONMENTS__PRODUCTION__PROTECTED"

    assert variable in refusal(written, EXAMPLE, {variable: value})
    for spelling in ('"yes"', "1"):
        text = EXAMPLE.replace("protected = true", f"protected = {spelling}")
        assert variable in refusal(written, text, {variable: value})


def test_a_variable_may_protect(written: Written) -> None:
    env = {"OPSSIGHT_ENVIRONMENTS__STAGING__PROTECTED": "true"}

    assert written(EXAMPLE, env).profile("staging").protected


def test_the_origin_is_the_line_of_the_connection(written: Written) -> None:
    settings = written(EXAMPLE)

    assert settings.profile("staging").origin == "opssight.toml:24"
    assert settings.profile("production").origin == "opssight.toml:31"
    assert settings.profile("eu-west").origin == "PG* variables and libpq's defaults"


def test_the_digest_follows_every_value_but_the_secrets(written: Written) -> None:
    text = '[environments.x]\nurl = "postgres://a:{}@h/x"\npassword_command = "echo {}"\n'
    one, two = written(text.format("one", "one")), written(text.format("two", "two"))
    other = written(text.format("one", "one") + 'tls = "off"')

    assert one.digest() == two.digest()
    assert one.digest() != other.digest()


def test_no_secret_is_in_a_repr(written: Written) -> None:
    settings = written(
        f'[environments.x]\nurl = "postgres://a:{SECRET}@h/x"\npassword_command = "echo {SECRET}"'
    )

    for thing in (settings, settings.profile("x"), settings.model_dump(mode="json")):
        assert SECRET not in f"{thing!r} {thing}"


def test_settings_are_frozen(written: Written) -> None:
    settings: Any = written(EXAMPLE)

    with pytest.raises(ValidationError, match="frozen"):
        settings.defaults.lock_budget = timedelta(0)
    with pytest.raises(AttributeError):
        settings.profile("staging").protected = True


KEY = "age1" + "q" * 58


def test_an_environment_says_about_backups_what_the_defaults_do_not(written: Written) -> None:
    settings = written(
        f"""
        [defaults]
        backup_recipients = ["{KEY}"]
        backup_manifest_key = "hunter2"
        [environments.local]
        url = "embedded"
        [environments.staging]
        backup = "required"
        backup_dir = "/backups"
        backup_recipients = []
        """
    )

    local = settings.profile("local").backups
    assert (local.policy, local.directory, local.recipients) == ("auto", None, (KEY,))
    assert local.plain  # its data lies open beside it
    staging = settings.profile("staging").backups
    assert (staging.policy, staging.directory, staging.recipients) == ("required", "/backups", ())
    assert not staging.plain
    assert "hunter2" not in repr(staging)


def test_a_backup_is_sealed_in_one_way_and_the_environments_own_wins(written: Written) -> None:
    settings = written(
        f"""
        [defaults]
        backup_recipients = ["{KEY}"]
        [environments.local]
        url = "embedded"
        [environments.staging]
        backup_passphrase_command = "pass show backups"
        """
    )

    assert settings.profile("local").backups.recipients == (KEY,)
    staging = settings.profile("staging").backups
    assert (staging.recipients, staging.are_possible) == ((), True)
    both = f'[defaults]\nbackup_passphrase_command = "p"\nbackup_recipients = ["{KEY}"]'
    assert "keep one of them" in refusal(written, both)


def test_recipients_in_a_variable_are_separated_by_commas(written: Written) -> None:
    variable = {"OPSSIGHT_DEFAULTS__BACKUP_RECIPIENTS": f"{KEY}, ssh-ed25519 AAAA me"}

    backups = written("[environments.local]\nurl = 'embedded'", variable).profile("local").backups

    assert backups.recipients == (KEY, "ssh-ed25519 AAAA me")


def test_a_secret_key_among_the_recipients_is_refused_and_not_told(written: Written) -> None:
    said = refusal(written, '[defaults]\nbackup_recipients = ["AGE-SECRET-KEY-1QQQ"]')

    assert "backup_recipients" in said
    assert "1QQQ" not in said
