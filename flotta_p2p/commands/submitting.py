"""`submit`, `sign` and `send`: one signature over the whole job, here or on another machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flotta_p2p.commands.options import FILE, Place, json_option, place_options, read_small_file
from flotta_p2p.commands.output import show
from flotta_p2p.commands.questions import Given, Question, make_question, question_errors, question_options

if TYPE_CHECKING:
    from flotta_p2p.submission import Prepared
    from protocol.signing import SigningKey


@click.command()
@question_options
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the result.")
@place_options(to=True)
@json_option
def submit(place: Place, given: Given, wait: bool, as_json: bool) -> int:
    """Ask the holders of a project a question. It is signed, submitted, and waited for.

    FILE is a question file in YAML or JSON (docs/federated.md); options override it. Submitting again is a
    new job.

    \b
    Examples:
      flotta-p2p submit --project heart --columns age,bmi --where "age >= 40"
      flotta-p2p submit --project heart --columns bmi --by sex,site
      flotta-p2p submit question.yaml --bins age:40:100:12 --json
      flotta-p2p submit question.yaml --to node.example.org --token-file heart.token
    """
    from flotta_p2p.commands.jobs import follow, outlived_by
    from flotta_p2p.commands.places import link_to, signing_key
    from flotta_p2p.commands.results import job_sentence, job_values
    from protocol.ids import short_job_id

    question = make_question(given)
    key = signing_key(place.key)
    with link_to(place, question.project) as link:
        # This node alone may lead it: another member that gets to see the order must not, and see the shares.
        prepared = _prepare(question, link.project_id(question.project), key, (link.channel.node(),))
        with outlived_by(prepared.job_id, "the job may have been submitted"):
            status = link.client.submit(link.client.prove(prepared))
        if wait:
            if not as_json:
                memory = "" if status.durable else "; its node keeps jobs in memory, and a restart of it loses them"
                click.echo(f"job {short_job_id(status.job_id)} is submitted{memory}", err=True)
            return follow(link.client, status, as_json=as_json)
    show(job_values(status), (job_sentence(status),), as_json=as_json)
    return 0


@click.command()
@question_options
@click.option("-o", "--output", type=FILE, required=True, help="The order file to write; never overwritten.")
@place_options(token=True, key=True)
@json_option
def sign(place: Place, given: Given, output: Path, as_json: bool) -> None:
    """Sign an order into a file. Nothing is sent: the machine needs no node and no network.

    The file holds the proof of membership, made with the project's token, but neither key nor token.

    \b
    Examples:
      flotta-p2p sign --project heart --columns age -o order.flp
      flotta-p2p sign question.yaml --token-file heart.token --life 2d -o order.flp
    """
    from flotta_p2p.commands.places import project_key, signing_key
    from flotta_p2p.submission import order_to_bytes
    from protocol.ids import format_job_id
    from protocol.plan.order import SignedOrder

    question = make_question(given)
    key = signing_key(place.key)
    project = project_key(place, question.project)
    prepared = _prepare(question, project.project_id, key)
    proof = project.submit_proof(prepared.job_id, key.public_key)
    _write_new(output, order_to_bytes(SignedOrder(envelope=prepared.envelope, proof=proof)))
    job = format_job_id(prepared.job_id)
    line = f"The signed order of job {job} is in {output}. Next: flotta-p2p send {output}"
    show({"job": job, "file": str(output)}, (line,), as_json=as_json)


@click.command()
@click.argument("order", type=FILE)
@place_options(to=True, project=True)
@json_option
def send(place: Place, order: Path, as_json: bool) -> None:
    """Submit a signed order file. Sending it again is harmless: it is the same job.

    \b
    Examples:
      flotta-p2p send order.flp
      flotta-p2p send order.flp --to node.example.org:1456 --token-file heart.token
    """
    from flotta_p2p.commands.places import link_to
    from flotta_p2p.commands.results import job_sentence, job_values
    from flotta_p2p.submission import order_from_bytes
    from protocol.limits import BODY_BYTES_MANIFEST_MAX

    signed = order_from_bytes(read_small_file(order, BODY_BYTES_MANIFEST_MAX, "order file"))
    with link_to(place) as link:
        status = link.client.submit(signed)
    show(job_values(status), (job_sentence(status),), as_json=as_json)


def _prepare(question: Question, project: bytes, key: SigningKey, schedulers: tuple[bytes, ...] = ()) -> Prepared:
    from actors.adapters.clock import SystemClock
    from actors.adapters.entropy import SystemEntropy
    from flotta_p2p.submission import prepare_order
    from protocol.plan.artifact import question_artifact

    with question_errors():
        artifact = question_artifact(project, question.query, question.parameters)
        clock, entropy = SystemClock(), SystemEntropy()
        return prepare_order(
            artifact, question.options, key, clock, entropy, holders=question.holders, schedulers=schedulers
        )


def _write_new(path: Path, data: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise click.UsageError(f"the file {path} exists already, and an order is never overwritten") from error
    except OSError as error:
        raise click.UsageError(f"the order file {path} cannot be written: {error.strerror}") from error
