"""`jobs` and `job show|wait|cancel|result`: what became of what was submitted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from flotta_p2p.commands.options import Place, duration, json_option, place_options
from flotta_p2p.commands.output import Interrupted, clean, progress, show
from flotta_p2p.commands.suggestions import completed_line

if TYPE_CHECKING:
    from flotta_p2p.submission import JobClient
    from protocol.wire.jobs import JobStatus

PREFIX_CHARS_MIN: Final = 6


@click.command()
@place_options(to=True, project=True)
@json_option
def jobs(place: Place, as_json: bool) -> None:
    """The newest jobs that the node leads. Through a door, only your own.

    \b
    Examples:
      flotta-p2p jobs
      flotta-p2p jobs --to node.example.org --token-file heart.token
      flotta-p2p jobs --to node.example.org --project heart
    """
    from flotta_p2p.commands.places import link_to
    from flotta_p2p.commands.results import job_values, jobs_lines

    with link_to(place) as link:
        found = link.client.jobs()
    show({"jobs": [job_values(one) for one in found]}, jobs_lines(found), as_json=as_json)


@click.group(no_args_is_help=True)
def job() -> None:
    """One job. ID is its whole id, or a beginning of at least six characters that only it has.

    \b
    Examples:
      flotta-p2p job wait j4k2mzq7a
      flotta-p2p job result j4k2mzq7a --json
    """


@job.command("show")
@click.argument("job_id", metavar="ID")
@place_options(to=True, project=True)
@json_option
def show_job(place: Place, job_id: str, as_json: bool) -> None:
    """All that is known of a job.

    \b
    Example:
      flotta-p2p job show j4k2mzq7a
    """
    from flotta_p2p.commands.places import link_to
    from flotta_p2p.commands.results import job_lines, job_values

    with link_to(place) as link:
        found = find_job(link.client, job_id)
        with about(found):
            status = link.client.status(found)
    show(job_values(status), job_lines(status), as_json=as_json)


@job.command("wait")
@click.argument("job_id", metavar="ID")
@click.option(
    "--limit",
    callback=duration,
    metavar="TIME",
    help="Stop waiting after this time (exit code 6); else wait until it ends.",
)
@place_options(to=True, project=True)
@json_option
def wait_for_job(place: Place, job_id: str, limit: int | None, as_json: bool) -> int:
    """Wait until a job has ended. Shows its result, or why it has none.

    \b
    Examples:
      flotta-p2p job wait j4k2mzq7a
      flotta-p2p job wait j4k2mzq7a --limit 60s
    """
    from flotta_p2p.commands.places import link_to

    with link_to(place) as link:
        found = find_job(link.client, job_id)
        with about(found):
            status = link.client.status(found)
        return follow(link.client, status, limit_s=None if limit is None else limit / 1000, as_json=as_json)


@job.command("cancel")
@click.argument("job_id", metavar="ID")
@place_options(to=True, project=True)
@json_option
def cancel_job(place: Place, job_id: str, as_json: bool) -> None:
    """Cancel a job, signed with the key that submitted it. A job that has ended stays as it is.

    \b
    Example:
      flotta-p2p job cancel j4k2mzq7a
    """
    from flotta_p2p.commands.places import link_to, person_key
    from flotta_p2p.commands.results import job_sentence, job_values
    from protocol.wire.jobs import ENDED

    key = person_key(place.key)
    with link_to(place) as link:
        found = find_job(link.client, job_id)
        with about(found):
            status = link.client.cancel(found, key)
    nothing = "There is nothing to cancel: " if status.state in ENDED and status.state != "cancelled" else ""
    show(job_values(status), (nothing + job_sentence(status),), as_json=as_json)


@job.command("result")
@click.argument("job_id", metavar="ID")
@place_options(to=True, project=True)
@json_option
def job_result(place: Place, job_id: str, as_json: bool) -> int:
    """The result of a job that succeeded, or why there is none.

    \b
    Examples:
      flotta-p2p job result j4k2mzq7a
      flotta-p2p job result j4k2mzq7a --json
    """
    from flotta_p2p.commands.places import link_to

    with link_to(place) as link:
        found = find_job(link.client, job_id)
        with about(found):
            return tell_end(link.client, link.client.status(found), as_json=as_json)


def find_job(client: JobClient, text: str) -> bytes:
    """The whole id, or that of the one listed job that begins so. Raises DeniedError(JOB_UNKNOWN) or AddressError."""
    from protocol.errors import AddressError, Code, DeniedError
    from protocol.ids import format_job_id, parse_job_id

    try:
        return parse_job_id(text)
    except AddressError:
        beginning = text.strip().lower()
        if len(beginning) < PREFIX_CHARS_MIN:
            raise AddressError(
                Code.ID_MALFORMED,
                f"a beginning of a job's id has at least {PREFIX_CHARS_MIN} characters, {text!r} has {len(beginning)}",
                next_step="flotta-p2p jobs",
            ) from None
    found = [one.job_id for one in client.jobs() if format_job_id(one.job_id).startswith(beginning)]
    if len(found) == 1:
        return found[0]
    what = "several of the newest jobs begin" if found else "none of the newest jobs begins"
    step = "flotta-p2p jobs, and give the whole id; a removed job is found by its whole id alone"
    raise DeniedError(Code.JOB_UNKNOWN, f"{what} with {text!r}", next_step=step)


@contextmanager
def about(job_id: bytes) -> Iterator[None]:
    """Every error inside names this job."""
    from protocol.errors import FlottaError
    from protocol.ids import format_job_id

    try:
        yield
    except FlottaError as error:
        error.job = error.job or format_job_id(job_id)
        raise


@contextmanager
def outlived_by(job_id: bytes, what: str) -> Iterator[None]:
    """What ends this command does not end the job: the error names it, says `what`, and how to find it again."""
    from protocol.errors import Code, UnreachableError
    from protocol.ids import format_job_id, short_job_id

    short = short_job_id(job_id)
    try:
        with about(job_id):
            yield
    except KeyboardInterrupt:
        step = f"{what}; flotta-p2p job wait {short}, or flotta-p2p job cancel {short}"
        raise Interrupted(format_job_id(job_id), step) from None
    except UnreachableError as error:
        if error.code != Code.TIMED_OUT:
            error.next_step = f"{error.next_step}; then {what}: flotta-p2p job wait {short}"
        raise


def follow(client: JobClient, status: JobStatus, *, as_json: bool, limit_s: float | None = None) -> int:
    """Waits for the end of a job and tells it; the exit code."""
    with outlived_by(status.job_id, "the job goes on"):
        with progress(as_json=as_json) as changed:
            status = client.wait(status.job_id, limit_s=limit_s, progress=changed)
        return tell_end(client, status, as_json=as_json)


def tell_end(client: JobClient, status: JobStatus, *, as_json: bool) -> int:
    """The result of a job that succeeded, the cause of one that did not; the exit code.

    Raises DeniedError(RESULT_NOT_READY) for a job that has not ended.
    """
    from flotta_p2p import exit_codes
    from flotta_p2p.commands.group_results import group_lines, group_values
    from flotta_p2p.commands.results import cause_of, job_sentence, job_values, result_lines, result_values
    from protocol.ids import format_job_id
    from protocol.plan.tasks import Summary
    from protocol.wire.jobs import ENDED

    if status.state != "succeeded" and status.state in ENDED:
        cause = cause_of(status)
        if as_json:
            error = {"code": cause.code, "sentence": cause.sentence, "node": cause.node_name}
            error |= {"job": format_job_id(status.job_id), "next_step": cause.next_step}
            show({"error": error, "status": job_values(status)}, (), as_json=True)
        else:
            click.echo(clean(f"flotta-p2p: {completed_line(job_sentence(status))}"), err=True)
        return exit_codes.JOB_FAILED
    result, answer = client.result(status.job_id, status.scheduler)
    names = answer.holder_names
    if isinstance(result, Summary):
        values, lines = result_values(status.job_id, result, names), result_lines(result, names)
    else:
        values, lines = group_values(status.job_id, result, names), group_lines(result, names)
    show(values, (job_sentence(status), "", *lines), as_json=as_json)
    return exit_codes.OK
