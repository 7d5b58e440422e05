"""`python -m simulations run` as people run it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from simulations.__main__ import main
from simulations.describe import describe
from simulations.options import draw_options


def run_under_hash_seed(hash_seed: str) -> str:
    command = [sys.executable, "-m", "simulations", "run", "--nodes", "3", "--seed", "104", "--trace"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_the_same_seed_gives_the_same_trace_and_digest_under_different_hash_seeds() -> None:
    first, second = run_under_hash_seed("1"), run_under_hash_seed("2")
    assert "digest " in first
    assert first == second


def test_another_seed_gives_another_digest(capsys: pytest.CaptureFixture[str]) -> None:
    digests = set()
    for seed in ("101", "102"):
        assert main(["run", "--nodes", "2", "--seed", seed]) == 0
        digests |= {line for line in capsys.readouterr().out.splitlines() if line.startswith("digest ")}
    assert len(digests) == 2


def test_the_options_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "--nodes", "2", "--seed", "101"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1 : 1 + len(describe(draw_options(101, 2)))] == describe(draw_options(101, 2))


def test_the_number_of_jobs_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--nodes", "2", "--seed", "101", "--jobs", "2"]) == 0
    assert "seed 101, 2 nodes, 2 jobs" in capsys.readouterr().out


def test_several_seeds_take_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--nodes", "2", "--seed", "101", "--seeds", "2", "--jobs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["seed", "101"], ["seed", "102"]]
    assert lines[2] == "2 of 2 seeds passed"


@pytest.mark.parametrize("arguments", [["--nodes", "1"], ["--nodes", "many"], ["--seed", "-1"], ["--jobs", "9999999"]])
def test_a_wrong_number_is_refused_in_one_sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", *arguments])
    assert stopped.value.code == 2
    assert arguments[0] in capsys.readouterr().err.splitlines()[-1]
