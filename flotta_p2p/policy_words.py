"""A holder's policy in plain words."""

from __future__ import annotations

from flotta_p2p.configuration.schema import Policy
from protocol.columns import ALL
from protocol.ids import format_id


def policy_words(policy: Policy) -> tuple[tuple[str, str], ...]:
    """(what it is about, the rule) for each rule."""
    who = "any member of the projects"
    if policy.submitters != "any":
        who = f"these persons alone: {', '.join(sorted(map(format_id, policy.submitters)))}"
    cohort = f"nothing of fewer than {policy.minimum_cohort:,} rows leaves, neither of all nor of a group"
    cell = f"histogram cells, groups and missing values of fewer than {policy.minimum_cell:,} rows are withheld"
    return (
        ("who may ask", who),
        ("minimum cohort", cohort),
        ("minimum cell", cell),
        ("columns", f"these alone: {_listed(policy.columns)}" if policy.columns is not None else "all but hidden ones"),
        ("hidden", f"{_listed(policy.hidden)}: as if the table did not have them" if policy.hidden else "none"),
        ("groupable", _groupable(policy)),
        ("numbers alone", _numeric_only(policy)),
    )


def _groupable(policy: Policy) -> str:
    if policy.groupable is None:
        return "all columns that are not for numbers alone" if policy.numeric_only != ALL else "none"
    return f"these alone: {_listed(policy.groupable)}" if policy.groupable else "none: nobody may group by a column"


def _numeric_only(policy: Policy) -> str:
    if policy.numeric_only == ALL:
        return "all that are not groupable; a column that holds anything else is not seen"
    return _listed(policy.numeric_only) if policy.numeric_only else "none"


def _listed(names: frozenset[str] | str) -> str:
    return ", ".join(sorted(names))
