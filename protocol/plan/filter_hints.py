"""What was probably meant by a filter that does not read: one hint for each usual mistake."""

from __future__ import annotations

import re
from typing import Final

EXAMPLE: Final = "for example: age >= 40 and sex == 'female' and not (site is None)"
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"")
_WORD: Final = r"\b(?!(?:and|or|not|in|is|None|True|False)\b)[^\W\d]\w*"

# The first that fits is told. They look at the text without what stands in quotes.
_HINTS: Final = tuple(
    (re.compile(pattern), hint)
    for pattern, hint in (
        (r"['\"]", "close the quote: sex == 'female'"),
        (r"[‘’“”„]", "use plain quotes: sex == 'female'"),
        (r"(?i)\bbetween\b", "a range is written as: age >= 40 and age <= 60"),
        (r"(?i)\blike\b", "texts are compared as a whole: site == 'north' or site in ['north', 'south']"),
        (r"(?i)[=!]= *(none|null|nan)\b|\bis (not )?(null|nan)\b", "missing values are found with: age is None"),
        (r"&|\|", "& is written as and, | as or: age >= 40 and sex == 'female'"),
        (r"\b(AND|OR|NOT|IN|IS|NONE)\b", "and, or, not, in, is stand in small letters, None with a capital"),
        (r"<>", "unequal is written as !="),
        (r"=[<>]", "write <= or >="),
        (r"(?<![=<>!])=(?!=)", "equal is written with two signs: sex == 'female'"),
        (r"\d,\d", "a number has a point, not a comma: dose > 1.5"),
        (r"\bis (?!not None|None)", "only None stands after is; equal is written as =="),
        (r"\bin +[^\s(\[]", "a membership names a list: site in ['north', 'south']"),
        (r"(?:^|\band|\bor|\bnot|(?<!\w)\() *(?:-?\d|'')", "the column stands on the left: age >= 40"),
        (rf"[=<>] *{_WORD}", "a text stands in quotes: sex == 'female'; two columns are not compared"),
        (rf"{_WORD}(?:[ -]|\.){_WORD}", "a column whose name is no single word is written as: col('body mass') > 60"),
        (rf"^ *(?:not )? *{_WORD} *$", "compare the column with a value: smoker == True"),
    )
)


def hint(text: str) -> str:
    """The next step for a person whose filter was refused."""
    bare = _QUOTED.sub("''", text)
    unclosed = bare.replace("''", "")
    if bare.count("(") != bare.count(")") or bare.count("[") != bare.count("]"):
        return "each bracket is opened and closed"
    found = (told for pattern, told in _HINTS if pattern.search(unclosed if told.startswith("close") else bare))
    return next(found, EXAMPLE)
