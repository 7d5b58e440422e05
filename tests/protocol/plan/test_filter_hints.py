"""Each usual mistake in a filter has its own hint."""

from __future__ import annotations

import pytest

from protocol.errors import WorkflowError
from protocol.plan.filter_hints import EXAMPLE
from protocol.plan.filters import parse_filter

HINTS = {
    "age = 4": "two signs",
    "age <> 3": "!=",
    "age => 3": "<= or >=",
    "age > 3 && sex == 'f'": "& is written as and",
    "age > 3 AND sex == 'f'": "small letters",
    "1 < age < 5": "on the left",
    "40 <= age": "on the left",
    "'f' == sex": "on the left",
    "age between 1 and 3": "age <= 60",
    "sex like 'f%'": "as a whole",
    "sex == female": "in quotes",
    "sex == 'f": "close the quote",
    "sex == ‘f’": "plain quotes",
    "age == None": "age is None",
    "age is not NULL": "age is None",
    "sex is 'f'": "only None stands after is",
    "site in 'north'": "names a list",
    "dose > 1,5": "a point",
    "body mass > 60": "col('body mass')",
    "body-mass > 60": "col('body mass')",
    "lab.dose > 60": "col('body mass')",
    "not smoker": "smoker == True",
    "(age > 3": "opened and closed",
    "age >": EXAMPLE,
    "f(age)": EXAMPLE,
}


@pytest.mark.parametrize(("text", "told"), HINTS.items())
def test_a_filter_that_does_not_read_says_what_was_probably_meant(text: str, told: str) -> None:
    with pytest.raises(WorkflowError) as refused:
        parse_filter(text)
    assert told in refused.value.next_step


def test_what_stands_in_quotes_is_no_mistake() -> None:
    with pytest.raises(WorkflowError) as refused:
        parse_filter("site == 'A & B, (between)' and age >")
    assert refused.value.next_step == EXAMPLE
