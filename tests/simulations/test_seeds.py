"""Every rule holds in ten seeds, and in every seed that once broke one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import simulations
from simulations.options import draw_options
from simulations.trace import Trace
from simulations.world import World

REGRESSIONS = tomllib.loads((Path(simulations.__file__).parent / "regressions.toml").read_text())["seed"]
SEEDS = [(2, 101), (2, 102), (3, 103), (3, 104), (3, 105), (4, 106), (4, 107), (5, 108), (5, 109), (6, 110)]


@pytest.mark.parametrize(("nodes", "seed"), SEEDS)
def test_every_rule_holds(nodes: int, seed: int) -> None:
    World(draw_options(seed, nodes), Trace()).run()


@pytest.mark.parametrize("found", REGRESSIONS, ids=lambda found: f"{found['nodes']}-{found['seed']}")
def test_what_a_seed_once_found_stays_mended(found: dict[str, int]) -> None:
    World(draw_options(found["seed"], found["nodes"]), Trace()).run()


def test_the_ten_seeds_meet_every_kind_of_fault() -> None:
    drawn = [draw_options(seed, nodes) for nodes, seed in SEEDS]
    assert any(options.loss for options in drawn)
    assert any(options.duplicates for options in drawn)
    assert any(options.replays for options in drawn)
    assert any(options.spikes for options in drawn)
    assert any(options.task_deaths for options in drawn)
    assert any(job.cancel_after_ms for options in drawn for job in options.jobs)
    moments = {crash.moment for options in drawn for crash in options.crashes}
    assert moments == {"at once", "before a commit", "after a commit"}
