"""Before a file is replaced, the question names what would be lost; where nothing would be, it is short."""

from __future__ import annotations

from app.agent.visidata.hosted import save_questions
from app.agent.visidata.hosted.save_questions import Facts, Unloaded, losses, overwrite_question


def test_the_question_is_short_where_nothing_would_be_lost() -> None:
    facts = Facts("a.csv", old_format="csv", new_format="csv")
    assert losses(facts) == []
    assert overwrite_question("a.csv", []) == "a.csv exists. overwrite?"


def test_it_names_each_thing_that_would_be_lost() -> None:
    facts = Facts(
        "a.csv",
        unloaded=(Unloaded("a", 689_317, 3_000_001, "loading was stopped"),),
        changed="read at 10:02 UTC",
        old_format="csv",
        new_format="tsv",
        columns=("b", "c"),
        rows=1,
        tables=("one", "two", "three", "four"),
    )
    assert losses(facts) == [
        "about 2,310,684 rows of a are not loaded (689,317 of about 3,000,001 rows): loading was stopped",
        "a.csv has changed since it was read at 10:02 UTC; those changes would be lost",
        "4 other sheets of a.csv would be lost: one, two, three and 1 more",
        "1 row of a.csv would be lost: this sheet has only some of its rows",
        "2 columns would be lost: b, c",
        "a.csv is csv and would become tsv",
    ]
    assert overwrite_question("a.csv", losses(facts)) == "overwrite a.csv all the same?"


def test_rows_that_cannot_be_counted_are_missing_all_the_same() -> None:
    facts = Facts("a.csv.gz", unloaded=(Unloaded("a", 1, None, "loading was stopped"),))
    assert losses(facts) == ["a may not be all that is in its file (1 row): loading was stopped"]


def test_a_file_that_was_not_opened_is_said_to_be_lost_whole() -> None:
    facts = Facts("a.xlsx", unloaded=(Unloaded("a", 0, None, "the file is encrypted"),))
    assert losses(facts) == ["nothing of a is loaded: the file is encrypted"]


def test_a_database_gets_rows_where_it_has_the_table() -> None:
    assert losses(Facts("a.sqlite", added_to=("t",))) == ["rows would be added to what is in the table t"]


def test_the_list_of_a_workbooks_sheets_is_no_workbook() -> None:
    text = save_questions.index_refusal("book.xlsx", 3, "book-list.tsv")
    assert "book.xlsx is not replaced" in text
    assert "book-list.tsv" in text


def test_a_long_name_keeps_its_end() -> None:
    assert len(save_questions.clip("x" * 300 + ".csv")) == 40
    assert save_questions.clip("x" * 300 + ".csv").endswith(".csv")
