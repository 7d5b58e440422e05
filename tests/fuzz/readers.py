"""Everything that parses what others wrote, each with valid samples and with the errors that it may answer with."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from actors.adapters.launcher_link import LauncherLink, LauncherLostError
from actors.adapters.statements import from_line, from_text, from_txt, to_line
from actors.child_service import read_request
from actors.discovery import decode_command, decode_event
from actors.framing import Unframer, to_frame
from flotta_p2p.commands.group_results import group_lines, group_values
from flotta_p2p.commands.results import job_lines, job_values, jobs_lines, result_lines, result_values
from flotta_p2p.configuration.read import read_configuration
from flotta_p2p.federated import child
from flotta_p2p.federated.question_file import read_question_file
from flotta_p2p.result import Result, read_result
from protocol.errors import (
    AddressError,
    Code,
    ConfigError,
    DeniedError,
    RemoteProtocolError,
    UnreachableError,
    WorkflowError,
)
from protocol.eui import EUI
from protocol.ids import parse_id, parse_job_id
from protocol.key_statement import parse_address, verify_key_statement
from protocol.limits import CHILD_MESSAGE_BYTES_MAX, KIB
from protocol.plan.artifact import read_artifact
from protocol.plan.filters import parse_filter
from protocol.plan.order import (
    Cancel,
    SignedOrder,
    VerifiedOrder,
    check_not_expired,
    job_id_of,
    verify_cancel,
    verify_order,
)
from protocol.plan.plan import VerifiedPlan, check_plan, derive, verify_outcome, verify_plan
from protocol.plan.tasks import ChildSays, Fault, GroupedSummary, Inspection, TableReport
from protocol.proxies.proxy import Proxy, parse_proxy
from protocol.proxies.speak import new_handshake
from protocol.roll_call import verify_roll_call
from protocol.signing import (
    CANCEL_STATEMENT,
    KEY_STATEMENT,
    ORDER_STATEMENT,
    PLAN_STATEMENT,
    RESULT_STATEMENT,
    ROLL_CALL_STATEMENT,
    Envelope,
    envelope_bytes,
    open_statement,
    pae,
    sign_statement,
)
from protocol.strange_answers import what_answers
from protocol.wire.codec import decode_record, encode_record
from protocol.wire.control import Report, decode_control
from protocol.wire.jobs import JobStatus
from protocol.wire.registry import BY_NUMBER, decode_message
from protocol.zmtp import CommandReader, client_greeting, read_socket_greeting
from tests.flotta_p2p.federated.test_question_file import JSON, YAML
from tests.flotta_p2p.test_configuration_good import SAMPLE
from tests.fuzz import samples
from tests.fuzz.mutations import Sample, tree_sample
from tests.protocol.builders import PROJECT, SUBMITTER, WALL_MS

Read = Callable[[bytes], Any]
Errors = tuple[type[Exception], ...]
REMOTE: Errors = (RemoteProtocolError,)
SOCKS5_PROXY = parse_proxy("socks5://ada:secret@proxy:1080")
HTTP_PROXY = parse_proxy("http://ada:secret@proxy:3128")
PROJECTS = {PROJECT.project_id: PROJECT}
NAMES = {"n/s": "north"}
FILTERS = (
    "age >= 40 and sex == 'f'",
    "not (site is None) or col('body mass') in [1, -2.5, 'x', True]",
    "dose is not None and not dose < -3e5 and x not in ('a',)",
)


KINDS = {
    "order": ORDER_STATEMENT,
    "plan": PLAN_STATEMENT,
    "outcome": RESULT_STATEMENT,
    "cancel": CANCEL_STATEMENT,
    "key statement": KEY_STATEMENT,
    "roll call": ROLL_CALL_STATEMENT,
}


class Find(AssertionError):
    """The reader answered, but not with what it promises."""


def _nothing(_value: Any) -> None:
    pass


@dataclass(frozen=True)
class Reader:
    """`read` is the product's: it answers with a value or one of `errors`, in time. `after` does with the value what
    the product does next, and may raise nothing. `weight`: its share of all bodies.
    """

    name: str
    read: Read
    samples: Sequence[Sample]
    errors: Errors = REMOTE
    weight: int = 10
    is_text: bool = False
    after: Callable[[Any], object] = _nothing


def all_readers() -> list[Reader]:
    return [*_messages(), *_statements(), *_plans(), *_children(), *_lines(), *_proxies(), *_files()]


def _trees(data: Sequence[bytes]) -> list[Sample]:
    return [tree_sample(one) for one in data]


def _texts(data: Sequence[bytes]) -> list[Sample]:
    return [Sample(one) for one in data]


# --- messages -------------------------------------------------------------------------------------


def _messages() -> list[Reader]:
    by_number: dict[int, list[bytes]] = {}
    for number, body in samples.bodies():
        by_number.setdefault(number, []).append(body)
    wire = [
        Reader(BY_NUMBER[number].record.__name__, partial(decode_message, number), _trees(known), after=_use)
        for number, known in sorted(by_number.items())
    ]
    controls: dict[int, list[bytes]] = {}
    for number, body in samples.control_bodies():
        controls.setdefault(number, []).append(body)
    return wire + [
        Reader(f"control {number}", partial(decode_control, number), _trees(known), weight=3, after=_use)
        for number, known in sorted(controls.items())
    ]


def _use(message: Any) -> None:
    if isinstance(message, Report):  # plain values for people, which nobody writes again
        return
    again(message)
    for status in (message,) if isinstance(message, JobStatus) else getattr(message, "jobs", ()):
        json.dumps(job_values(status))
        list(job_lines(status))
        jobs_lines((status,))


def again(record: msgspec.Struct) -> None:
    """What was decoded is the same after one more trip; as bytes, where it holds a nan, which equals nothing."""
    encoded = encode_record(record)
    other = decode_record(encoded, type(record), bytes_max=2 * CHILD_MESSAGE_BYTES_MAX)
    if other != record and encode_record(other) != encoded:
        raise Find(f"{type(record).__name__} changes on its way through the codec")


# --- signed statements: whole, and mutated before they were signed ----------------------------------


def _statements() -> list[Reader]:
    payloads = samples.payloads()
    whole = {
        name: envelope_bytes(sign_statement(KINDS[name], payload, SUBMITTER)) for name, payload in payloads.items()
    }
    envelopes = _trees(list(whole.values()))

    def signed(name: str, read: Read, errors: Errors = REMOTE, after: Callable[[Any], None] = again) -> Reader:
        kind = KINDS[name]
        mutated = _trees([payloads[name]])
        return Reader(f"{name}, signed", lambda data: read(_signed(kind, data)), mutated, errors, weight=3, after=after)

    return [
        Reader("envelope", lambda data: decode_record(data, Envelope, bytes_max=128 * KIB), envelopes, after=again),
        Reader("statement", lambda data: open_statement(data, PLAN_STATEMENT), envelopes),
        Reader("key statement", lambda data: verify_key_statement(data, WALL_MS), _trees([whole["key statement"]])),
        signed("order", _order, (DeniedError, WorkflowError), _use_order),
        signed("plan", verify_plan, after=_use_plan),
        signed("outcome", lambda data: verify_outcome(data)[0]),
        signed("cancel", _cancel, (DeniedError,)),
        signed("key statement", lambda data: verify_key_statement(data, WALL_MS).statement),
        signed("roll call", lambda data: verify_roll_call(data, WALL_MS)),
    ]


def _signed(kind: str, payload: bytes) -> bytes:
    """Beyond the limit too, which only our own side of `envelope_bytes` keeps."""
    signature = SUBMITTER.sign(pae(kind, payload))
    return encode_record(Envelope(payload_type=kind, payload=payload, signer=SUBMITTER.public_key, signature=signature))


def _order(envelope: bytes) -> VerifiedOrder:
    payload = decode_record(envelope, Envelope, bytes_max=1 << 24).payload
    job_id = job_id_of(payload, SUBMITTER.public_key)
    proof = PROJECT.submit_proof(job_id, SUBMITTER.public_key)
    return verify_order(SignedOrder(envelope=envelope, proof=proof), PROJECTS)


def _use_order(verified: VerifiedOrder) -> None:
    again(verified.order)
    with contextlib.suppress(DeniedError):
        check_not_expired(verified.order, WALL_MS)


def _use_plan(verified: VerifiedPlan) -> None:
    again(verified.plan)
    for order in (samples.SMALL_ORDER, samples.LARGE_ORDER):
        with contextlib.suppress(DeniedError):
            check_plan(verified.plan, order, verified.scheduler)
            derive(read_artifact(order.artifact), verified.plan, verified.scheduler)


def _cancel(envelope: bytes) -> Cancel:
    return verify_cancel(envelope, b"j" * 32, SUBMITTER.public_key)


# --- artifacts and results ---------------------------------------------------------------------------


def _plans() -> list[Reader]:
    results = _trees([encode_record(samples.SUMMARY), encode_record(samples.GROUPED)])
    filters = _texts([one.encode() for one in FILTERS])
    return [
        Reader("artifact", read_artifact, _trees(samples.artifacts()), (WorkflowError,), after=again),
        Reader("result", read_result, results, after=_show_result),
        Reader("filter", lambda data: parse_filter(_text(data)), filters, (WorkflowError,), is_text=True),
    ]


def _show_result(result: Result) -> None:
    again(result)
    if isinstance(result, GroupedSummary):
        json.dumps(group_values(b"j" * 32, result, NAMES), allow_nan=False)
        list(group_lines(result, NAMES))
    else:
        json.dumps(result_values(b"j" * 32, result, NAMES), allow_nan=False)
        list(result_lines(result, NAMES))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


# --- children ----------------------------------------------------------------------------------------


def _children() -> list[Reader]:
    stream = _texts([to_frame(b"one") + to_frame(b"two" * 30)])
    return [
        Reader("child request", child.answer, _trees(samples.child_requests()), (), weight=3, after=_use_answer),
        Reader("child answer", _child_answer, _trees(samples.child_answers())),
        Reader("child stream", _stream, stream, weight=3),
    ]


def _use_answer(answer: bytes) -> None:
    """A fault of the child's own program is a find."""
    read = decode_record(answer, ChildSays, bytes_max=CHILD_MESSAGE_BYTES_MAX)
    if isinstance(read, Fault) and read.code == Code.INTERNAL:
        raise Find(f"the child met a fault of its own: {read.sentence}")


def _child_answer(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        decode_record(data, ChildSays, bytes_max=CHILD_MESSAGE_BYTES_MAX)
    with contextlib.suppress(RemoteProtocolError):
        decode_record(data, TableReport, bytes_max=CHILD_MESSAGE_BYTES_MAX)
    decode_record(data, Inspection, bytes_max=CHILD_MESSAGE_BYTES_MAX)


def _stream(data: bytes) -> None:
    frames = Unframer()
    frames.push(data)
    while frames.pop() is not None:
        pass


# --- lines and texts ---------------------------------------------------------------------------------


def _lines() -> list[Reader]:
    launcher = _Launcher()
    names = samples.identifiers()
    txt = json.dumps({k.decode(): v.decode() for k, v in samples.txt_records()[0].items() if v is not None})
    text = partial(Reader, is_text=True)
    address = (AddressError,)
    return [
        text("discovery event", decode_event, _texts(samples.discovery_events()), weight=20),
        text("discovery command", decode_command, _texts(samples.discovery_commands())),
        text("line to the launcher", read_request, _texts(samples.launcher_requests())),
        text("line of the launcher", launcher.read, _texts(samples.launcher_events()), (LauncherLostError,)),
        text("statement text", from_text, _texts(samples.statement_texts())),
        text(
            "statement line", from_line, _texts([to_line(one, 1_753_000_000_000) for one in samples.statement_texts()])
        ),
        text("TXT record", _txt, _texts([txt.encode()])),
        text("address", lambda data: parse_address(_text(data)), _texts(names), address),
        text("node id", lambda data: parse_id(_text(data)), _texts(names), address, weight=5),
        text("job id", lambda data: parse_job_id(_text(data)), _texts(names), address, weight=5),
        text("EUI", lambda data: EUI.parse(_text(data)), _texts(names), address),
    ]


def _txt(data: bytes) -> bytes:
    """Pieces of a TXT record: keys and values of any bytes, or no value."""
    pieces = [piece.partition(b'": "') for piece in data.strip(b'{"}').split(b'", "')]
    return from_txt({key: value if colon else None for key, colon, value in pieces})


class _Launcher:
    """The node's end of the socket to its launcher, and the other end in our hands."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        self._ours.sendall(b'{"event": "hello", "kept": {}}\n')
        self._link = LauncherLink(theirs)

    def read(self, line: bytes) -> Any:
        self._ours.sendall(line.replace(b"\n", b" ")[: 1 << 15] + b"\n")
        return self._link.read()


# --- proxies -----------------------------------------------------------------------------------------


def _proxies() -> list[Reader]:
    errors = (UnreachableError, DeniedError)
    address = [b"socks5://ada:p%20w@proxy.example.org:1080", b"http://proxy:3128"]
    socks5 = b"\x05\x02\x01\x00\x05\x00\x00\x03\x05proxy\x05\xb0\xff first bytes"
    http = [
        b"HTTP/1.1 100 Wait\r\n\r\nHTTP/1.1 200 OK\r\nVia: 1.1 x\r\n\r\n\xff first bytes",
        b"HTTP/1.1 407 Login\r\nProxy-Authenticate: NTLM\r\n\r\n",
    ]
    command = client_greeting() + b"\x04\x06\x05HELLO\x06" + (9).to_bytes(8) + b"\x08INITIATE"
    return [
        Reader("proxy", lambda data: parse_proxy(_text(data)), _texts(address), (ConfigError,), is_text=True, weight=3),
        Reader("socks5 proxy", lambda data: _greeted(SOCKS5_PROXY, data), _texts([socks5]), errors, weight=3),
        Reader("http proxy", lambda data: _greeted(HTTP_PROXY, data), _texts(http), errors, weight=3),
        Reader("zmtp", _read_along, _texts([command]), (), weight=3),
    ]


def _greeted(proxy: Proxy, data: bytes) -> None:
    """All at once, and byte by byte."""
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        handshake = new_handshake(proxy, "node.example.org", 1456)
        handshake.begin()
        for piece in pieces:
            if not handshake.is_open:
                handshake.take(piece)


def _read_along(data: bytes) -> None:
    read_socket_greeting(data)
    CommandReader().feed(data)
    what_answers(data).encode("ascii")


# --- files ---------------------------------------------------------------------------------------------


def _files() -> list[Reader]:
    folder = tempfile.TemporaryDirectory(prefix="flotta-fuzz-", ignore_cleanup_errors=True)
    text = partial(Reader, is_text=True, weight=1)
    return [
        text("configuration", partial(_configuration, folder), _texts([SAMPLE.encode()]), (ConfigError,)),
        text("question in YAML", lambda data: _question(data, "yaml"), _texts([YAML.encode()]), (WorkflowError,)),
        text(
            "question in JSON",
            lambda data: _question(data, "json"),
            _texts([JSON.encode()]),
            (WorkflowError,),
            weight=5,
        ),
    ]


def _configuration(folder: tempfile.TemporaryDirectory[str], data: bytes) -> None:
    path = Path(folder.name, "site.yaml")
    path.write_bytes(data)
    read_configuration(path, {"A": "text\ud800"})


def _question(data: bytes, kind: Any) -> None:
    read_question_file(data.decode("utf-8", "replace"), kind)
