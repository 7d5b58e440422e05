"""Faults that are planted in the machines are found, under the name of the rule that they break; the same seeds hold
without them.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from simulations.__main__ import main
from simulations.options import Options, draw_node_count
from simulations.plants import PLANTS, Plant
from simulations.running import Case, run_case, run_options
from simulations.shrink import LISTS, Shrinker, until, without_node
from simulations.trace import Trace

# Found by `python -m simulations planted`, which tries 200 seeds.
FOUND: dict[Plant, tuple[int, str]] = {
    "old-fence": (23, "under an old fence"),
    "old-fence-worker": (54, "the fence of executed"),
    "early-acknowledge": (1, "acknowledges a message that it has not committed"),
    "no-replay-window": (1, "accepted the replayed frame"),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_fault_is_found(plant: Plant) -> None:
    seed, sentence = FOUND[plant]
    assert sentence in run_case(Case(seed, draw_node_count(seed), plant=plant)).broken


@pytest.mark.parametrize("seed", sorted({seed for seed, _ in FOUND.values()}))
def test_the_true_machines_pass_the_seeds_that_find_the_plants(seed: int) -> None:
    assert run_case(Case(seed, draw_node_count(seed))).broken == ""


def size(options: Options) -> int:
    return sum(len(getattr(options, name)) for name in LISTS)


def test_a_failing_run_is_shrunk_to_a_smaller_one_that_fails_likewise(tmp_path: Path) -> None:
    seed, sentence = FOUND["no-replay-window"]
    case = Case(seed, draw_node_count(seed), plant="no-replay-window")
    smallest = Shrinker(case.options(), case.plant, 60, lambda line: None).shrink()
    assert size(smallest) < size(case.options()) // 2
    assert smallest.chaos_ms < case.options().chaos_ms
    assert sentence in run_options(smallest, Trace(), case.plant)[1]
    file = tmp_path / "small.json"
    file.write_bytes(msgspec.json.encode(smallest))
    assert main(["run", "--options", str(file), "--plant", "no-replay-window"]) == 1


def test_a_run_that_breaks_nothing_cannot_be_shrunk(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shrink", "--seed", "101", "--nodes", "2", "--jobs", "1"]) == 1
    assert "breaks no rule" in capsys.readouterr().out


def test_what_comes_later_can_be_left_out_of_a_run() -> None:
    options = Case(11, 4).options()
    short = until(options, 30_000)
    assert short.chaos_ms == 30_001 and 0 < size(short) < size(options)
    assert all(plan.at_ms <= 30_000 for name in LISTS for plan in getattr(short, name))


def test_a_node_leaves_with_all_that_was_planned_for_it() -> None:
    options = Case(7, 4).options()
    smaller = without_node(options, 1)
    assert smaller.nodes == (options.nodes[0], *options.nodes[2:])
    assert [job.at_ms for job in smaller.jobs] == [job.at_ms for job in options.jobs if job.node != 1]
    assert all(plan.node < 3 for name in ("jobs", "crashes", "falls", "pauses") for plan in getattr(smaller, name))
    assert all(node < 3 for cut in smaller.cuts for node in (*cut.left, *cut.right))
