"""A network that is larger than a neighbourhood holds together, finds its holders, and does not grow too fast."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from protocol.limits import PEERS_SOUGHT
from protocol.signing import SigningKey, verify
from simulations.scale import Count, Growth, measure
from tools.scale import main, table, too_fast


def growth(nodes: int, total: int) -> Growth:
    count = Count(messages=total, bytes=total, steps=total, messages_busiest=total)
    return Growth(
        nodes=nodes,
        peers_mean=1,
        peers_most=1,
        reached=nodes,
        meeting=count,
        rest=count,
        job=count,
        holders=1,
        seconds=0,
    )


@pytest.fixture(scope="module")
def larger() -> Growth:
    """More nodes than one looks for; measure() itself fails unless all are reached and the job succeeds."""
    return measure(2 * PEERS_SOUGHT)


def test_a_job_finds_listed_holders_anywhere_in_a_network_of_which_its_node_knows_a_part(larger: Growth) -> None:
    assert larger.reached == larger.holders == 2 * PEERS_SOUGHT
    assert larger.peers_mean < larger.nodes - 1


def test_the_same_seed_gives_the_same_counts() -> None:
    first, second = measure(12), measure(12)
    assert msgspec.structs.replace(first, seconds=0) == msgspec.structs.replace(second, seconds=0)


def test_signatures_are_true_again_after_a_measurement() -> None:
    measure(2)
    key = SigningKey(b"k" * 32)
    signature = key.sign(b"words")
    assert verify(key.public_key, signature, b"words") and not verify(key.public_key, signature, b"others")


def test_what_grows_with_the_square_is_named_and_what_grows_with_n_log_n_is_not() -> None:
    square = [growth(nodes, nodes * nodes) for nodes in (10, 100, 1_000)]
    assert any(one.startswith("messages of meeting grow faster") for one in too_fast(square))
    assert too_fast([growth(100, 66_439), growth(1_000, 996_578), growth(10_000, 13_287_712)]) == []


def test_the_table_speaks_of_one_node() -> None:
    assert "| 100 | 1 (at most 1) | 50 |" in table([growth(100, 5_000)])


def test_the_command_shows_a_table_and_leaves_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    assert main(["--nodes", "4", "--report", str(report)]) == 0
    assert "| 4 | 3 (at most 3) |" in capsys.readouterr().out
    assert msgspec.json.decode(report.read_bytes())["failures"] == []
