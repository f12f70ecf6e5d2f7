"""The digest tells what was changed, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from tests.conftest import NewDatabase

from opssight_migrate.model.errors import StatementError
from opssight_migrate.postgres.digest import columns_by_table, digest_database, digest_table
from opssight_migrate.postgres.session import Query, Session

_PEOPLE = """
CREATE TABLE people (id int PRIMARY KEY, email varchar, bio text, active bool DEFAULT true,
                     born date, seen timestamptz, token uuid, photo bytea, city varchar(80));
INSERT INTO people
SELECT i, 'p' || i || '@example.com', repeat('x', i), i % 2 = 0, date '2000-01-01' + i,
       timestamptz '2024-01-01 00:00+00' + i * interval '1 second',
       md5(i::text)::uuid, decode(md5(i::text), 'hex'), 'city ' || i
  FROM generate_series(1, 50) AS i;
"""
_ID_AND_EMAIL = ("id", "email")


def _value(session: Session, table: str = "people") -> str:
    return digest_table(session, table, columns_by_table(session, [table])[table]).value


@contextmanager
def _another(new_database: NewDatabase) -> Iterator[Session]:
    with psycopg.connect(new_database(), autocommit=True) as connection:
        session = Session(connection)
        session.prepare()
        yield session


def _one_value_each(session: Session, type_name: str, values: list[str]) -> list[str]:
    """Return the digests of one-row tables that hold these literals as ``type_name``."""
    digests = []
    for value in values:
        session.execute("DROP TABLE IF EXISTS one")
        with session.connection.cursor() as cursor:
            cursor.execute(f"CREATE TABLE one (c {type_name})".encode())
            cursor.execute(f"INSERT INTO one VALUES ({value})".encode())
        digests.append(_value(session, "one"))
    return digests


def test_an_empty_table_has_no_rows_and_the_sum_0(session: Session) -> None:
    session.execute("CREATE TABLE people (id int, email text)")
    found = digest_table(session, "people", _ID_AND_EMAIL)
    assert (found.table, found.columns, found.rows, found.value) == (
        "people",
        _ID_AND_EMAIL,
        0,
        "0",
    )


def test_two_rows_that_swapped_their_emails_are_seen(session: Session) -> None:
    session.execute(_PEOPLE)
    before = _value(session)
    session.execute(
        "UPDATE people SET email = CASE id WHEN 1 THEN 'p2@example.com' ELSE 'p1@example.com' END"
        " WHERE id IN (1, 2)"
    )
    assert _value(session) != before


def test_a_pair_of_equal_rows_is_seen(session: Session) -> None:
    session.execute("CREATE TABLE people (id int, email text); INSERT INTO people VALUES (1, 'a')")
    before = digest_table(session, "people", _ID_AND_EMAIL)
    session.execute("INSERT INTO people VALUES (2, 'b'), (2, 'b')")
    after = digest_table(session, "people", _ID_AND_EMAIL)
    assert after.value != before.value
    assert after.rows == before.rows + 2


@pytest.mark.parametrize(
    ("type_name", "values"),
    [
        ("numeric", ["1.0", "1.00", "'NaN'", "1", "NULL", "0", "-1"]),
        (
            "float8",
            ["0", "'-0'", "'NaN'", "'Infinity'", "0.1", "0.1::float8 + 0.2::float8", "0.3", "NULL"],
        ),
        ("real", ["0", "'-0'", "'NaN'", "NULL"]),
        ("text", ["NULL", "''", "'0'", "'NULL'", "' '", "'a'", "'A'", "'é'", "E'e\\u0301'"]),
        ("varchar", ["NULL", "''", "'0'"]),
        ("bpchar", ["'a'", "'a '", "NULL", "''"]),
        ("int", ["NULL", "0", "1", "-1"]),
        ("bigint", ["NULL", "0", "1", "4294967296", "-4294967297"]),
        ("json", ["'{}'", "'{ }'", "'{\"a\":1}'", "'{\"a\": 1}'", '\'{"a":1,"a":1}\'', "NULL"]),
        ("jsonb", ["'[1]'", "'[[[1]]]'", "'[1.0]'", "'[]'", "'{}'", "'null'", "NULL"]),
        ("bytea", [r"'\x00'", r"'\x0000'", r"'\x'", "NULL"]),
        ("bit varying", ["B'0'", "B'00'", "B''", "NULL"]),
        ("interval", ["'1 mon'", "'30 days'", "'720 hours'", "NULL"]),
        ("point", ["'(0,0)'", "'(-0,0)'", "NULL"]),
        ("int[]", ["'{}'", "'{1}'", "'{{1}}'", "'[0:0]={1}'", "'{NULL}'", "NULL"]),
        ("numeric[]", ["'{1.0}'", "'{1.00}'"]),
        ("timestamp", ["'2024-01-01 00:00'", "'2024-01-01 01:00'", "'infinity'", "NULL"]),
        ("boolean", ["true", "false", "NULL"]),
        ("uuid", ["'00000000-0000-0000-0000-000000000000'", "NULL"]),
        ("date", ["'2000-01-01'", "'2000-01-02'", "NULL"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_that_differ_in_their_text_differ_in_the_digest(
    session: Session, type_name: str, values: list[str]
) -> None:
    digests = _one_value_each(session, type_name, values)
    assert len(set(digests)) == len(values), dict(zip(values, digests, strict=True))


def test_one_byte_in_a_long_text_is_seen(session: Session) -> None:
    session.execute("CREATE TABLE letters (id int, body text)")
    session.execute("INSERT INTO letters VALUES (1, repeat('abcdefgh', 25000))")
    before = _value(session, "letters")
    session.execute("UPDATE letters SET body = overlay(body PLACING 'X' FROM 150001 FOR 1)")
    assert session.scalar("SELECT length(body) FROM letters") == 200_000
    assert _value(session, "letters") != before


def test_an_enum_with_other_numbers_in_another_database_is_equal(
    session: Session, new_database: NewDatabase
) -> None:
    made: Query = (
        "CREATE TYPE mood AS ENUM ('glad', 'sad');"
        "CREATE TABLE days (id int PRIMARY KEY, mood mood, moods mood[], note json);"
        "INSERT INTO days VALUES (1, 'glad', '{sad}', '{}'), (2, 'sad', '{}', '{ }')"
    )
    session.execute(made)
    with _another(new_database) as other:
        other.execute("CREATE TYPE before AS ENUM ('a', 'b', 'c')")
        other.execute(made)
        numbers: Query = (
            "SELECT array_agg(oid ORDER BY enumsortorder)::text FROM pg_enum"
            " WHERE enumtypid = 'mood'::regtype"
        )
        assert session.scalar(numbers) != other.scalar(numbers)
        assert _value(session, "days") == _value(other, "days")


def test_a_copied_database_is_equal(server: object, new_database: NewDatabase) -> None:
    first = new_database()
    with psycopg.connect(first, autocommit=True) as connection:
        connection.execute(_PEOPLE.encode())
    copied = new_database(psycopg.conninfo.conninfo_to_dict(first)["dbname"])  # type: ignore[arg-type]
    digests = []
    for conninfo in (first, copied):
        with psycopg.connect(conninfo, autocommit=True) as connection:
            session = Session(connection)
            session.prepare()
            digests.append(digest_database(session, columns_by_table(session)))
    assert digests[0] == digests[1]
    assert digests[0]["people"].rows == 50


def test_the_order_of_the_rows_does_not_count(session: Session) -> None:
    session.execute(_PEOPLE)
    before = _value(session)
    session.execute("CREATE INDEX people_by_email ON people (email DESC)")
    session.execute("CLUSTER people USING people_by_email")
    assert session.scalar("SELECT id FROM people LIMIT 1") != 1
    assert _value(session) == before
    session.execute("UPDATE people SET id = id")
    session.execute("VACUUM FULL people")
    assert _value(session) == before


def test_a_column_added_later_does_not_count(session: Session) -> None:
    session.execute(_PEOPLE)
    columns = columns_by_table(session)
    before = digest_database(session, columns)
    session.execute("ALTER TABLE people ADD COLUMN organization_id int NOT NULL DEFAULT 1")
    session.execute("ALTER TABLE people ADD COLUMN moved text; UPDATE people SET moved = 'x'")
    assert digest_database(session, columns) == before
    session.execute("UPDATE people SET bio = NULL WHERE id = 7")
    assert digest_database(session, columns) != before


def test_a_longer_varchar_and_text_are_equal(session: Session) -> None:
    session.execute(_PEOPLE)
    before = _value(session)
    session.execute("ALTER TABLE people ALTER COLUMN city TYPE text")
    assert _value(session) == before


def test_a_domain_counts_as_the_type_under_it(session: Session) -> None:
    session.execute("CREATE DOMAIN amount AS numeric; CREATE DOMAIN price AS amount")
    assert len(set(_one_value_each(session, "price", ["1.0", "1.00", "NULL"]))) == 3


def test_the_digest_of_a_key_range_adds_up_to_the_whole(session: Session) -> None:
    session.execute(_PEOPLE)
    columns = columns_by_table(session)["people"]
    whole = digest_table(session, "people", columns)
    parts = [
        digest_table(session, "people", columns, hi=20),
        digest_table(session, "people", columns, lo=20, hi=33),
        digest_table(session, "people", columns, lo=33),
    ]
    assert [part.rows for part in parts] == [19, 13, 18]
    assert sum(int(part.value) for part in parts) == int(whole.value)


def test_a_range_needs_an_integer_key(session: Session) -> None:
    session.execute("CREATE TABLE words (word text PRIMARY KEY)")
    with pytest.raises(StatementError, match="no integer primary key"):
        digest_table(session, "words", ("word",), lo=1)


def test_a_column_that_is_not_there_is_named(session: Session) -> None:
    session.execute("CREATE TABLE words (word text)")
    with pytest.raises(StatementError, match="words has no column meaning"):
        digest_table(session, "words", ("word", "meaning"))


def test_partitions_and_the_stamp_are_left_out(session: Session) -> None:
    session.execute(
        "CREATE TABLE alembic_version (version_num text);"
        "CREATE TABLE logs (id int, at date) PARTITION BY RANGE (at);"
        "CREATE TABLE logs_2024 PARTITION OF logs FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');"
        "CREATE TABLE other (id int, gone int); ALTER TABLE other DROP COLUMN gone;"
        "INSERT INTO logs VALUES (1, '2024-05-05')"
    )
    assert columns_by_table(session) == {"logs": ("id", "at"), "other": ("id",)}
    assert columns_by_table(session, ["other", "nobody"]) == {"other": ("id",)}
    assert digest_table(session, "logs", ("id", "at")).rows == 1


def test_names_that_need_quotes_are_digested(session: Session) -> None:
    session.execute('CREATE TABLE "Odd t" ("a ""b" text, t int, "100%" int)')
    session.execute("""INSERT INTO "Odd t" VALUES ('x', 1, 2)""")
    assert digest_database(session, columns_by_table(session))["Odd t"].rows == 1


def test_a_digest_needs_no_more_than_a_read_only_snapshot(session: Session) -> None:
    session.execute(_PEOPLE)
    with session.reading():
        inside = _value(session)
    assert inside == _value(session)


def test_the_text_digest_for_postgresql_13_tells_the_same_things(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "server_version", property(lambda _self: 130023))
    session.execute(_PEOPLE)
    before = _value(session)
    session.execute(
        "UPDATE people SET email = CASE id WHEN 1 THEN 'p2@example.com' ELSE 'p1@example.com' END"
        " WHERE id IN (1, 2)"
    )
    assert _value(session) != before
    assert len(set(_one_value_each(session, "text", ["NULL", "''", "'0'", "'\"\"'"]))) == 4
