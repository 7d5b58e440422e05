"""Mutated bodies in small numbers; the proof takes more. And the fuzzer itself can fail."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from protocol.errors import Code, RemoteProtocolError
from protocol.machines.scheduler import Scheduler
from protocol.wire import control
from protocol.wire.codec import decode
from protocol.wire.jobs import Results
from protocol.wire.registry import BY_NUMBER
from tests.fuzz import bodies, samples, steps
from tests.fuzz.bodies import Fuzzer, Report
from tests.fuzz.mutations import VALUES, mutate_tree, tree_sample
from tests.fuzz.readers import Reader, all_readers

BODY = tree_sample(samples.artifacts()[1])


@pytest.fixture(scope="module")
def readers() -> list[Reader]:
    return all_readers()


def test_every_message_of_both_registries_is_mutated(readers: list[Reader]) -> None:
    names = {reader.name for reader in readers}
    assert names >= {entry.record.__name__ for entry in BY_NUMBER.values()}
    assert names >= {f"control {number}" for number in control._RECORDS}


def test_every_reader_takes_its_own_samples(readers: list[Reader]) -> None:
    for reader in readers:
        refused = 0
        for sample in reader.samples:
            try:
                reader.after(reader.read(sample.data))
            except reader.errors:
                refused += 1
        # some are given the samples of their neighbours too
        assert refused < len(reader.samples), reader.name


@pytest.mark.timeout(600)  # 15 s on two cores at rest
def test_mutated_bodies_are_read_or_refused_and_break_no_machine() -> None:
    report = bodies.run(40_000, 10_000, seed=1, workers=2)
    found = bodies.finding(report, 1, 1.0)
    assert found.failures == ()
    assert (report.bodies, report.steps) == (40_000, 10_000)
    assert report.values > 2_000 and report.refused_steps > 500
    assert set(report.refusals) >= {
        Code.BODY_MALFORMED,
        Code.STATEMENT_MALFORMED,
        Code.ARTIFACT_MALFORMED,
        Code.ORDER_MALFORMED,
        Code.FILTER_MALFORMED,
        Code.SIGNATURE_WRONG,
        Code.RESULT_ALTERED,
    }


def test_a_batch_is_repeated_by_its_seed(readers: list[Reader]) -> None:
    fuzzer = Fuzzer(readers)
    first, second, other = (fuzzer.run_batch(seed, 0, 300) for seed in (1, 1, 2))
    assert first.refusals == second.refusals != other.refusals


def careless(data: bytes) -> Any:
    """A decoder as people write it: it believes the shape of what it reads."""
    return {key: len(value) for key, value in decode(data, bytes_max=1 << 20).items()}["steps"]


def test_a_careless_decoder_is_found() -> None:
    report = Fuzzer([Reader("careless", careless, [BODY])]).run_batch(1, 0, 500)
    found = {escape.split(": ")[1] for escape in report.escapes}
    assert found & {"TypeError", "AttributeError", "KeyError"}
    assert not bodies.finding(report, 1, 1.0).held


def test_what_is_done_with_a_value_is_watched_too() -> None:
    report = Fuzzer(
        [Reader("careless later", decode_body, [BODY], after=lambda value: len(value["query"]["columns"]))]
    ).run_batch(1, 0, 500)
    assert report.escapes


def decode_body(data: bytes) -> Any:
    return decode(data, bytes_max=1 << 20)


def test_a_slow_reader_breaks_the_part() -> None:
    def slow(data: bytes) -> None:
        sum(range(3_000_000))

    report = Fuzzer([Reader("slow", slow, [BODY])]).run_batch(1, 0, 2)
    assert any(failure.startswith("slow: slow") for failure in bodies.finding(report, 1, 1.0).failures)


def test_a_machine_that_raises_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Scheduler.step

    def careless_step(self: Scheduler, event: Any, now: Any) -> Any:
        message = getattr(event, "message", None)
        if isinstance(message, Results):
            message.results[0]
        return honest(self, event, now)

    monkeypatch.setattr(Scheduler, "step", careless_step)
    _, _, escapes = steps.run_steps(1, 0, 3_000)
    assert any(escape.startswith("IndexError") for escape in escapes)


def test_a_mutated_tree_is_still_msgpack_more_often_than_not() -> None:
    random, whole = Random(1), 0
    for _ in range(1_000):
        try:
            decode(mutate_tree(random, BODY, [BODY]), bytes_max=1 << 20)
        except RemoteProtocolError:
            continue
        whole += 1
    assert whole > 400


def test_the_values_hold_each_kind_that_the_wire_allows_and_others() -> None:
    read = []
    for value in VALUES:
        try:
            read.append(decode(value, bytes_max=1 << 20))
        except RemoteProtocolError:
            read.append(RemoteProtocolError)
    assert {type(one) for one in read} >= {type(None), bool, int, float, str, bytes, list}
    assert read.count(RemoteProtocolError) > 15


def test_the_report_names_counts_and_failures(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    report = Report(bodies=3, escapes=["one"], slowest_ms={"x": 1.0})
    assert bodies.finding(report, 7, 1.0).tell(tmp_path / "report.json") == 1
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["failures"] == ["one"]
    assert (written["counts"]["bodies mutated"], written["counts"]["seed"]) == (3, 7)
    assert "BROKEN: one" in capsys.readouterr().out
