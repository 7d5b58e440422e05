"""What a person writes to ask for a summary: a question file, or options of the command line. Pure reading,
no Polars.

    project: heart            # the project's local name, or its id
    columns: [age, bmi]
    where: "age >= 40 and sex == 'f'"
    statistics: [count, mean, variance, histogram]
    bins: {age: {low: 40, high: 100, count: 12}}
    options: {holders_min: 3, deadline_ms: 60000}

`where`, `bins` and `options` may be left out. `by: [sex, site]` asks for each group of rows, without bins; then
`columns` may be left out too. The same question gives the same artifact, byte for byte, however it was written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Final, Literal, get_args

import msgspec

from flotta_p2p.faults import Faults
from flotta_p2p.order_options import OrderOptions
from flotta_p2p.safe_yaml import load, plain_value
from protocol.errors import Code, ConfigError, WorkflowError
from protocol.limits import STATEMENT_BYTES_MAX
from protocol.plan.artifact import Query
from protocol.plan.filters import parse_filter
from protocol.plan.operations import Bins, GroupParameters, Statistic, SummaryParameters, operation, read_parameters
from protocol.record import Record

FileKind = Literal["yaml", "json"]
_WORDS: Final = {
    "array": "a list",
    "str": "text",
    "object": "a map of keys",
    "int": "a whole number",
    "float": "a number",
}
_EXAMPLE: Final = "see docs/federated.md for an example of a question file"


class QuestionFile(Record, frozen=True):
    """`query` selects the columns to summarise; those that group stand in the parameters."""

    project: str
    query: Query
    parameters: SummaryParameters | GroupParameters
    options: OrderOptions


class _Fields(Record, frozen=True):
    """The question file as it is written."""

    project: str
    statistics: tuple[str, ...]
    columns: tuple[str, ...] = ()
    by: tuple[str, ...] | None = None
    where: str | None = None
    bins: dict[str, Bins] = msgspec.field(default_factory=dict)
    options: OrderOptions = OrderOptions()


def read_question_file(text: str, kind: FileKind) -> QuestionFile:
    """Reads a question file. Raises WorkflowError naming what is wrong and the nearest valid key."""
    if len(text) > STATEMENT_BYTES_MAX:
        raise _malformed(f"a question file has at most {STATEMENT_BYTES_MAX} characters")
    raw = _read_yaml(text) if kind == "yaml" else _read_json(text)
    if not isinstance(raw, dict):
        raise _malformed("a question file is a map of keys: project, columns, by, where, statistics, bins, options")
    _check_keys(raw, _Fields, "the question file")
    if isinstance(raw.get("options"), dict):
        _check_keys(raw["options"], OrderOptions, "options")
    try:
        fields = msgspec.convert(raw, _Fields, strict=True)
    except msgspec.ValidationError as error:
        raise _malformed(f"the question file does not fit: {_in_words(error)}") from error
    except UnicodeEncodeError as error:  # JSON's "\ud800": one half of a character
        raise _malformed("the question file holds half a character") from error
    return QuestionFile(
        project=fields.project,
        query=Query(columns=fields.columns, where=None if fields.where is None else parse_filter(fields.where)),
        parameters=parameters_of(",".join(fields.statistics), fields.bins, fields.by),
        options=fields.options,
    )


def parameters_of(
    statistics: str, bins: dict[str, Bins], by: tuple[str, ...] | None
) -> SummaryParameters | GroupParameters:
    """What is asked, with groups or, for None, without. Raises WorkflowError."""
    if by is None:
        return summary_parameters(statistics, bins)
    if bins:
        raise _wrong("a histogram cannot be asked for by group", "leave out the bins, or ask without groups")
    return group_parameters(statistics, by)


def summary_parameters(statistics: str, bins: dict[str, Bins]) -> SummaryParameters:
    """`count,mean` and bins as parameters, the statistics in one order whoever wrote them.

    Raises WorkflowError.
    """
    parameters = SummaryParameters(statistics=_statistics(statistics), bins=bins)
    checked = read_parameters(operation("summary.prepare"), msgspec.to_builtins(parameters))
    assert isinstance(checked, SummaryParameters)
    return checked


def group_parameters(statistics: str, by: tuple[str, ...]) -> GroupParameters:
    """As `summary_parameters`, for each group of rows. Groups are sorted by the columns in this order."""
    parameters = GroupParameters(by=by, statistics=_statistics(statistics))
    checked = read_parameters(operation("groups.prepare"), msgspec.to_builtins(parameters))
    assert isinstance(checked, GroupParameters)
    return checked


def _statistics(statistics: str) -> tuple[Statistic, ...]:
    wanted = [word.strip() for word in statistics.split(",") if word.strip()]
    known: tuple[Statistic, ...] = get_args(Statistic)
    for word in wanted:
        if word not in known:
            raise _wrong(f'there is no statistic "{word[:64]}"', f"use some of {', '.join(known)}")
    if len(set(wanted)) != len(wanted):
        raise _wrong(f"a statistic is named twice in {statistics[:64]!r}", "name each wanted statistic once")
    return tuple(name for name in known if name in wanted)


def parse_bins(texts: Sequence[str]) -> dict[str, Bins]:
    """Reads `--bins age:0:100:20` options: column, lower end, upper end, number of bins. Raises
    WorkflowError.
    """
    found: dict[str, Bins] = {}
    for text in texts:
        column, *numbers = text.rsplit(":", 3)
        try:
            low, high, count = numbers
            bins = Bins(low=float(low), high=float(high), count=int(count))
        except ValueError:
            raise _wrong(
                f'the bins "{text[:80]}" do not read', "write them as column:low:high:count, age:0:100:20"
            ) from None
        if column in found:
            raise _wrong(f'the bins of "{column[:64]}" are given twice', "give each column one set of bins")
        found[column] = bins
    return found


# --- YAML and JSON without their traps ----------------------------------------------------------


def _read_yaml(text: str) -> Any:
    faults = Faults("the question file")
    try:
        tree = load(text.encode("utf-8", "surrogatepass"), faults, value_chars_max=STATEMENT_BYTES_MAX)
        faults.raise_if_any()
    except ConfigError as error:
        raise _malformed(error.sentence) from error
    return plain_value(tree)


def _read_json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_pairs)
    except (ValueError, RecursionError) as error:
        raise _malformed(f"the question file is no JSON: {str(error)[:200]}") from error


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_once([key for key, _ in pairs])
    return dict(pairs)


def _check_once(keys: list[Any]) -> None:
    for index, key in enumerate(keys):
        if key in keys[:index]:
            raise ValueError(f"the key {str(key)[:64]!r} stands twice")


def _check_keys(raw: dict[Any, Any], fields: type[msgspec.Struct], where: str) -> None:
    known = fields.__struct_fields__
    for key in raw:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            step = f"did you mean {near[0]}?" if near else f"keys are {', '.join(known)}"
            raise WorkflowError(Code.ARTIFACT_MALFORMED, f"{where} has no key {str(key)[:64]!r}", next_step=step)


def _in_words(error: msgspec.ValidationError) -> str:
    """`columns: expected a list, got text`, from a sentence in terms of JSON."""
    sentence, _, place = str(error).partition(" - at ")
    sentence = re.sub("`([a-z]+)`", lambda match: _WORDS.get(match[1], match[1]), sentence)
    where = place.strip("`").removeprefix("$.")
    return f"{where}: {sentence[0].lower()}{sentence[1:]}" if where else sentence


def _malformed(sentence: str) -> WorkflowError:
    return WorkflowError(Code.ARTIFACT_MALFORMED, sentence, next_step=_EXAMPLE)


def _wrong(sentence: str, next_step: str) -> WorkflowError:
    return WorkflowError(Code.PARAMETER_WRONG, sentence, next_step=next_step)
