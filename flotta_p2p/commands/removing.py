"""`job remove`: ended jobs and their results, before their time is over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from flotta_p2p.commands.options import Place, duration, json_option, place_options
from flotta_p2p.commands.output import show, show_fault
from protocol.words import many, size

if TYPE_CHECKING:
    from flotta_p2p.submission import JobClient
    from protocol.errors import FlottaError
    from protocol.wire.jobs import JobRemoved


def _ago(context: click.Context, option: click.Parameter, value: str | None) -> int | None:
    """As `duration`; zero would be everything, which nobody says by mistake."""
    found = duration(context, option, value)
    if found == 0:
        raise click.BadParameter(f"{value!r} would be every job; say how long ago, for example 1h")
    return found


@click.command("remove")
@click.argument("job_ids", metavar="[ID]...", nargs=-1)
@click.option(
    "--ended-before",
    callback=_ago,
    metavar="TIME",
    help="All that ended longer ago than this: 12h, 30d. Through a door, only your own.",
)
@place_options(to=True, project=True)
@json_option
def remove_jobs(place: Place, job_ids: tuple[str, ...], ended_before: int | None, as_json: bool) -> int:
    """Remove ended jobs with their results, for good. One that was removed before is no mistake.

    The operator of the node removes any, a submitter the own ones. A job that runs is cancelled first: job cancel.

    \b
    Examples:
      flotta-p2p job remove j4k2mzq7a
      flotta-p2p job remove --ended-before 30d
      flotta-p2p job remove j4k2mzq7a --to node.example.org
    """
    from flotta_p2p.commands.places import link_to

    if bool(job_ids) == (ended_before is not None):
        both = ", not both" if job_ids else ""
        raise click.UsageError(f"name jobs by their ids, or say --ended-before TIME{both}")
    with link_to(place) as link:
        if ended_before is not None:
            return _remove_ended(link.client, ended_before, as_json=as_json)
        return _remove_named(link.client, job_ids, as_json=as_json)


def _remove_ended(client: JobClient, ended_ms_ago: int, *, as_json: bool) -> int:
    from flotta_p2p import exit_codes
    from protocol.ids import format_job_id

    portions = list(client.remove_ended(ended_ms_ago))
    removed = [{"job": format_job_id(job_id), "already": False} for portion in portions for job_id in portion.job_ids]
    freed_bytes = sum(portion.freed_bytes for portion in portions)
    line = f"Removed {many(len(removed), 'job')}; this frees {size(freed_bytes)}."
    if not removed:
        line = "Removed 0 jobs: none ended so long ago, or none is yours."
    show({"removed": removed, "freed_bytes": freed_bytes, "refused": []}, (line,), as_json=as_json)
    return exit_codes.OK


def _remove_named(client: JobClient, texts: Sequence[str], *, as_json: bool) -> int:
    """Each for itself: one that is refused does not keep the others."""
    from flotta_p2p import exit_codes
    from flotta_p2p.commands.jobs import about, find_job
    from protocol.errors import AddressError, DeniedError

    removed: list[JobRemoved] = []
    refused: list[FlottaError] = []
    for text in texts:
        try:
            found = find_job(client, text)
            with about(found):
                removed.append(client.remove(found))
        except (DeniedError, AddressError) as error:
            if len(texts) == 1:
                raise
            error.job = error.job or text
            refused.append(error)
    show(_values(removed, refused), _lines(removed), as_json=as_json)
    for fault in () if as_json else refused:
        show_fault(fault, as_json=False)
    return exit_codes.exit_code(refused[0]) if refused else exit_codes.OK


def _values(removed: Sequence[JobRemoved], refused: Sequence[FlottaError]) -> dict[str, Any]:
    from protocol.ids import format_job_id

    return {
        "removed": [
            {
                "job": format_job_id(one.job_id),
                "already": one.already,
                "removed_ms": one.removed_ms,
                "by": one.by,
                "freed_bytes": one.freed_bytes,
            }
            for one in removed
        ],
        "freed_bytes": sum(one.freed_bytes for one in removed if not one.already),
        "refused": [
            {"job": one.job, "code": one.code.value, "sentence": one.sentence, "next_step": one.next_step}
            for one in refused
        ],
    }


def _lines(removed: Sequence[JobRemoved]) -> Iterator[str]:
    """With whole ids: a removed job is found by no other."""
    from protocol.ids import format_job_id

    for one in removed:
        job = f"job {format_job_id(one.job_id)}"
        if one.already:
            yield f"{job} was removed before."
        else:
            yield f"{job} is removed; this frees {size(one.freed_bytes)}."
