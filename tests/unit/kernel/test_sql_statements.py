import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.kernel.migrations.statements import split


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("", []),
        ("  \n-- only a comment\n/* and another; */", []),
        (";;\n;", []),
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;SELECT 2;", ["SELECT 1;", "SELECT 2;"]),
        ("SELECT ';' ; SELECT 'it''s; fine';", ["SELECT ';' ;", "SELECT 'it''s; fine';"]),
        (r"SELECT E'a\';b'; SELECT 2", [r"SELECT E'a\';b';", "SELECT 2"]),
        (r"SELECT 'a\'; SELECT 2", [r"SELECT 'a\';", "SELECT 2"]),
        ('SELECT 1 AS ";"; SELECT 2', ['SELECT 1 AS ";";', "SELECT 2"]),
        ("SELECT 1 -- no; end\n; SELECT 2", ["SELECT 1 -- no; end\n;", "SELECT 2"]),
        ("SELECT /* a /* nested; */ ; */ 1; SELECT 2", ["SELECT /* a /* nested; */ ; */ 1;", "SELECT 2"]),
        ("DO $$ BEGIN NULL; END $$; SELECT 2", ["DO $$ BEGIN NULL; END $$;", "SELECT 2"]),
        ("SELECT $a$ ; $$ ; $b$ ; $a$; SELECT 2", ["SELECT $a$ ; $$ ; $b$ ; $a$;", "SELECT 2"]),
        ("SELECT $1; SELECT $2", ["SELECT $1;", "SELECT $2"]),
        ("SELECT a$b$c; SELECT 2", ["SELECT a$b$c;", "SELECT 2"]),
        (
            "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3",
            ["CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);", "SELECT 3"],
        ),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END; SELECT 3",
            [
                "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END;",
                "SELECT 3",
            ],
        ),
        ("SELECT 'unfinished; SELECT 2", ["SELECT 'unfinished; SELECT 2"]),
        ("SELECT $$ unfinished; SELECT 2", ["SELECT $$ unfinished; SELECT 2"]),
        ("SELECT 1; /* unfinished", ["SELECT 1;"]),
    ],
)
def test_a_file_is_cut_at_the_semicolons_that_end_statements(sql, expected):
    assert [statement.text for statement in split(sql)] == expected


def test_a_statement_knows_the_line_of_its_first_word_and_of_any_character():
    first, second = split("-- top\nSELECT 1;\n\n/* why\n*/ SELECT\n  nothing,\n  here;\n")

    assert (first.line, second.line) == (2, 5)
    assert second.line_at(1) == 5
    assert second.line_at(second.text.index("here") + 1) == 7


@pytest.mark.parametrize(
    "sql", ["BEGIN;", "commit", "/* x */ ROLLBACK;", "START TRANSACTION;", "END", "SAVEPOINT a"]
)
def test_statements_that_end_or_nest_the_transaction_are_known(sql):
    assert split(sql)[0].controls_transaction


@pytest.mark.parametrize(
    "sql", ["SELECT 'commit'", "COMMENT ON TABLE t IS 'begin'", "DO $$ BEGIN COMMIT; END $$"]
)
def test_other_statements_may_use_those_words(sql):
    assert not split(sql)[0].controls_transaction


@given(st.text(alphabet="aE1$'\";()-/*\n\\ bé", max_size=60) | st.text(max_size=60))
def test_no_text_breaks_the_cutting_and_every_statement_stands_in_the_file(sql):
    position = 0
    for statement in split(sql):
        position = sql.index(statement.text, position) + len(statement.text)

        assert statement.text.strip()
        assert 1 <= statement.line <= sql.count("\n") + 1
