"""The launcher's decisions: when to start again, what a plan is, what a request is, what children may see."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.child_service import Kill, Spawn, read_request
from actors.children import child_environment
from actors.launcher import Plan, Restarts, read_plan
from protocol.errors import Code, ConfigError, RemoteProtocolError
from protocol.limits import CHILD_KEY_CHARS_MAX, NODE_ENDS_WINDOW_MS

WINDOW_S = NODE_ENDS_WINDOW_MS / 1000


def test_pauses_double_and_the_fifth_end_within_the_window_is_the_last() -> None:
    restarts = Restarts()
    assert [restarts.after_end(t, t) for t in (0.0, 2.0, 4.0, 8.0, 16.0)] == [1.0, 2.0, 4.0, 8.0, None]


def test_the_fifth_end_counts_up_to_the_end_of_the_window() -> None:
    for last_s, expected in ((WINDOW_S - 0.001, None), (WINDOW_S, 16.0)):
        restarts = Restarts()
        for t in (0.0, 1.0, 2.0, 3.0):
            restarts.after_end(t, t)
        assert restarts.after_end(last_s - 1, last_s) == expected


def test_rare_ends_never_give_up_and_pauses_stay_bounded() -> None:
    restarts = Restarts()
    step_s = WINDOW_S / 4
    pauses = [restarts.after_end(i * step_s, (i + 1) * step_s) for i in range(20)]
    assert pauses[:7] == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]
    assert set(pauses[7:]) == {60.0}


def test_a_long_healthy_life_makes_the_next_pause_short_again() -> None:
    restarts = Restarts()
    restarts.after_end(0.0, 1.0)
    restarts.after_end(2.0, 3.0)
    assert restarts.after_end(10.0, 10.0 + WINDOW_S) == 1.0


def test_a_plan_reads() -> None:
    text = json.dumps({"node": ["n", "-x"], "children": {"r": ["c"]}, "final_codes": [2, 3]})
    assert read_plan(text) == Plan(("n", "-x"), {"r": ("c",)}, frozenset((2, 3)))


@pytest.mark.parametrize(
    "plan",
    [
        {},
        [],
        {"node": [], "children": {}, "final_codes": []},
        {"node": "n", "children": {}, "final_codes": []},
        {"node": ["n"], "children": {"r": [1]}, "final_codes": []},
        {"node": ["n"], "children": {}, "final_codes": [True]},
        {"node": ["n"], "children": {}, "final_codes": [], "more": 1},
    ],
)
def test_what_is_no_plan_is_a_config_error(plan: object) -> None:
    with pytest.raises(ConfigError) as caught:
        read_plan(json.dumps(plan))
    assert caught.value.code is Code.CONFIG_MALFORMED


def request(**changes: object) -> bytes:
    spawn: dict[str, object] = {
        "do": "spawn",
        "key": "k",
        "role": "r",
        "on_node_death": "keep",
        "rss_bytes_max": 9,
    }
    return json.dumps(spawn | changes).encode()


def test_requests_read() -> None:
    assert read_request(request()) == Spawn("k", "r", True, 9)
    assert read_request(b'{"do": "kill", "key": "k", "reason": "killed"}') == Kill("k", "killed")


@pytest.mark.parametrize(
    "changes",
    [
        {"key": ""},
        {"key": "k" * (CHILD_KEY_CHARS_MAX + 1)},
        {"on_node_death": "hide"},
        {"rss_bytes_max": 0},
        {"rss_bytes_max": "9"},
        {"more": 1},
        {"do": "fly"},
    ],
)
def test_an_altered_request_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(RemoteProtocolError):
        read_request(request(**changes))


@given(st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_any_line_is_a_request_or_the_one_error(line: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_request(line)


def test_deep_nesting_is_the_one_error() -> None:
    with pytest.raises(RemoteProtocolError):
        read_request(b"[" * 60_000)


def test_children_see_an_allow_list() -> None:
    seen = child_environment(
        {
            "PATH": "/bin",
            "LC_ALL": "C",
            "HOME": "/root",
            "FLOTTA_TOKEN": "t",
            "PGPASSWORD": "p",
            "LD_PRELOAD": "x",
        }
    )
    assert {"PATH", "LC_ALL", "HOME", "POLARS_MAX_THREADS", "FLOTTA_PARENT_PID"} <= seen.keys()
    assert not {"FLOTTA_TOKEN", "PGPASSWORD", "LD_PRELOAD"} & seen.keys()
    assert "PYTHONPATH" not in seen


def test_the_launcher_imports_the_standard_library_alone_and_nothing_large_of_it() -> None:
    root = Path(__file__).parents[2]
    program = f"import sys; sys.path.insert(0, {str(root)!r}); import actors.launcher; print(*sys.modules)"
    bare = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True, timeout=10
    )
    modules = set(bare.stdout.split())
    foreign = {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names) - {"__main__"}
    assert foreign == {"actors", "protocol"}
    assert not modules & {"dataclasses", "argparse", "inspect", "pathlib"}
