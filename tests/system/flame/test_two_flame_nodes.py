"""Flame nodes as real processes, joined by edges: what arrives, how they end, what a crash costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from flame import values
from flame.control import PARENT_VARIABLE
from flame.journal import Journal, JournalReader
from flame.ports import Policy
from tests.flame.executor_stand_in import Edge, StandIn

pytestmark = pytest.mark.system

COUNTER = """
    import flame
    node = flame.Node("Counter")
    count = node.outputs.{lifetime}("count", int)
    node.register()
    for number in range(1, {last} + 1):
        node.outputs.set(count=number)
"""
SUM = """
    import flame, time
    node = flame.Node("Sum")
    number = node.inputs.flow("number", int)
    node.register()
    time.sleep({sleep})
    got = [record.value for record in number]
    print(len(got), sum(got), got == sorted(set(got)))
"""
IDLE = """
    import flame
    node = flame.Node("Idle")
    node.outputs.runtime("count", int)
    node.register()
    for tick in node.every(0.5):
        pass
"""
EDGE = Edge("counter/count", "sum/number")


def programs(last: int, *, sleep: float = 0.0, lifetime: str = "runtime") -> dict[str, str | Path]:
    return {"counter": COUNTER.format(last=last, lifetime=lifetime), "sum": SUM.format(sleep=sleep)}


def test_a_flow_brings_every_value_and_ends_with_its_producer(tmp_path: Path) -> None:
    with StandIn(tmp_path, programs(1_000), [EDGE]) as run:
        assert run.run() == {"counter": 0, "sum": 0}
        assert run.output("sum") == "1000 500500 True\n"
        assert run.byes["sum"].beat.inputs["number"].received == 1_000
        assert run.byes["counter"].beat.sent == {"count": 1_000}


@pytest.mark.parametrize(("policy", "lifetime"), [("block", "runtime"), ("block", "permanent"), ("spill", "finite")])
def test_bug_01_every_value_reaches_a_sleeping_consumer(tmp_path: Path, policy: Policy, lifetime: str) -> None:
    edge = Edge("counter/count", "sum/number", policy=policy)
    with StandIn(tmp_path, programs(20_000, sleep=2.0, lifetime=lifetime), [edge]) as run:
        if policy == "block":
            run.pump(lambda: "counter" in run.beats and run.beats["counter"].blocked_on == "sum/number")
        assert run.run() == {"counter": 0, "sum": 0}
        assert run.output("sum") == "20000 200010000 True\n"
        count = run.byes["sum"].beat.inputs["number"]
        assert (count.received, count.dropped, count.waiting) == (20_000, 0, 0)


@pytest.mark.parametrize(
    ("policy", "depth", "expected"),
    [("latest", 1, [20_000]), ("latest", 3, [19_998, 19_999, 20_000]), ("drop_new", 3, [1, 2, 3])],
)
def test_bug_01_every_policy_gives_exactly_the_stated_counts(
    tmp_path: Path, policy: Policy, depth: int, expected: list[int]
) -> None:
    late = """
        import flame, pathlib, time
        node = flame.Node("Sum")
        number = node.inputs.flow("number", int)
        node.register()
        while not pathlib.Path("ended").exists():
            time.sleep(0.01)
        print([record.value for record in number])
    """
    texts = {**programs(20_000), "sum": late}
    with StandIn(tmp_path, texts, [Edge("counter/count", "sum/number", policy=policy, depth=depth)]) as run:
        run.pump(lambda: run.processes["counter"].poll() is not None)
        (tmp_path / "ended").touch()
        assert run.run() == {"counter": 0, "sum": 0}
        assert run.output("sum") == f"{expected}\n"
        count = run.byes["sum"].beat.inputs["number"]
        assert (count.received, count.dropped, count.waiting) == (depth, 20_000 - depth, 0)


def test_bug_04_a_state_that_was_never_read_keeps_its_first_value(tmp_path: Path) -> None:
    watcher = """
        import flame
        node = flame.Node("Watcher")
        number = node.inputs.state("number", int)
        node.register()
        node.select(number, timeout=30)
        assert number.updated() and number.updated()
        print(number.get(), number.updated(), number.get())
    """
    texts = {**programs(1), "sum": watcher}
    with StandIn(tmp_path, texts, [EDGE]) as run:
        assert run.run() == {"counter": 0, "sum": 0}
        assert run.output("sum") == "1 False 1\n"


def test_bug_07_parameters_of_a_run_survive_a_reset_of_the_data_of_a_dry_run(tmp_path: Path) -> None:
    old = """
        from flame import nodeio
        nodeio.context(name="Old")
        inputs = nodeio.Inputs()
        x = inputs.state("x")
        inputs.set(x=1)
        nodeio.register()
        inputs.reset_all_dry_run_data()
        inputs.set(x=2)
        print(x(), inputs.get("x"))
    """
    with StandIn(tmp_path, {"old": old}, parameters={"old": {"x": 0.75}}) as run:
        assert run.run() == {"old": 0}
        assert run.output("old") == "0.75 0.75\n"


@pytest.mark.parametrize("loop", ["for record in number:", "while node.active:\n        time.sleep(0.01)"])
def test_bug_14_what_stands_below_the_loop_runs_when_the_run_stops(tmp_path: Path, loop: str) -> None:
    waits = f"""
    import flame, time
    node = flame.Node("Waits")
    number = node.inputs.flow("number", int)
    node.register()
    {loop}
        pass
    print("below the loop")
    """
    with StandIn(tmp_path, {"counter": IDLE, "sum": waits}, [EDGE]) as run:
        run.pump(lambda: len(run.beats) == 2)
        run.stop("enough")
        assert run.run() == {"counter": 0, "sum": 0}
        assert run.output("sum") == "below the loop\n"


def test_bug_14_a_get_that_waits_ends_the_program_quietly_and_finally_runs(tmp_path: Path) -> None:
    waits = """
        import flame
        node = flame.Node("Waits")
        number = node.inputs.flow("number", int)
        node.register()
        try:
            number.get()
        except Exception:
            print("never: it is no mistake")
        finally:
            print("finally")
    """
    with StandIn(tmp_path, {"counter": IDLE, "sum": waits}, [EDGE]) as run:
        run.pump(lambda: len(run.beats) == 2)
        run.stop("enough")
        assert run.run() == {"counter": 0, "sum": 0}
        assert run.output("sum") == "finally\n"


def test_bug_21_waiting_takes_no_processor_time(tmp_path: Path) -> None:
    waits = """
        import flame, time
        node = flame.Node("Waits")
        number, other = node.inputs.flow("number", int), node.inputs.state("other", int)
        node.register()
        began = time.process_time()
        assert node.select(number, other, timeout=1.0) == ()
        try:
            number.get(timeout=1.0)
        except TimeoutError:
            print(time.process_time() - began)
        node.stop_workflow("seen")
    """
    edges = [EDGE, Edge("counter/count", "sum/other")]
    with StandIn(tmp_path, {"counter": IDLE, "sum": waits}, edges) as run:
        assert run.run() == {"counter": 0, "sum": 0}
        assert float(run.output("sum")) < 0.5  # of two seconds
        assert run.stop_wanted == ["seen"]


def test_a_problem_is_told_with_file_and_line(tmp_path: Path) -> None:
    with StandIn(tmp_path, {"bad": "import flame\nnode = flame.Node('Bad')\nnode.register()\n1 / 0\n"}) as run:
        assert run.run() == {"bad": 1}
        assert run.byes["bad"].problem == "bad.py:4: ZeroDivisionError: division by zero"


def test_a_missing_parameter_is_told(tmp_path: Path) -> None:
    text = "import flame\nnode = flame.Node('Bad')\nnode.inputs.flow('x')\nnode.register()\n"
    with StandIn(tmp_path, {"bad": text}) as run:
        assert run.run() == {"bad": 1}
        assert "the input 'x' has no edge, no parameter and no default" in run.byes["bad"].problem


def test_an_output_of_stop_when_asks_for_the_end(tmp_path: Path) -> None:
    texts = programs(3)
    with StandIn(tmp_path, texts, [EDGE], stop_when={"counter": ["count"]}) as run:
        assert run.run() == {"counter": 0, "sum": 0}
        assert run.stop_wanted[0] == "the output 'count' is true"


def test_a_value_arrives_in_the_unit_of_the_input(tmp_path: Path) -> None:
    texts = {**programs(2), "sum": SUM.format(sleep=0).replace('"number", int', '"number", float')}
    with StandIn(tmp_path, texts, [Edge("counter/count", "sum/number", factor=0.5, offset=1)]) as run:
        assert run.run() == {"counter": 0, "sum": 0}
        assert run.output("sum") == "2 3.5 True\n"


RELAY = """
    import flame, os
    node = flame.Node("Relay")
    number = node.inputs.flow("number", int)
    total = node.outputs.permanent("total", int)
    memory = node.memory(total=0, seen=[])
    node.register()
    for record in number:
        memory.total += record.value
        memory.seen.append(record.seq)
        if len(memory.seen) > 5:
            del memory.seen[0]
        node.outputs.set(total=memory.total)
        if record.seq % 300 == 0 and not os.path.exists(f"crashed{record.seq}"):
            open(f"crashed{record.seq}", "w").close()
            os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("policy", ["block", "spill"])
def test_a_flame_node_killed_and_started_anew_goes_on_exactly(tmp_path: Path, policy: Policy) -> None:
    texts = {
        "counter": COUNTER.format(last=1_000, lifetime="finite"),
        "relay": RELAY,
        "sum": SUM.format(sleep=0).replace("print(", "print(got[-1], "),
    }
    edges = [Edge("counter/count", "relay/number", policy=policy), Edge("relay/total", "sum/number")]
    with StandIn(tmp_path, texts, edges) as run:
        for _ in range(3):
            run.pump(lambda: run.processes["relay"].poll() == -9)
            run.processes["relay"].communicate()
            run.start("relay")
        assert run.run() == {"counter": 0, "relay": 0, "sum": 0}
        totals = [number * (number + 1) // 2 for number in range(1, 1_001)]
        assert run.output("sum") == f"{totals[-1]} 1000 {sum(totals)} True\n"
        with JournalReader(run.journal("relay")) as journal:
            stored = list(journal.read("total", 1))
            assert [values.decode(one.data) for one in stored] == totals
            assert journal.memory() == {"total": totals[-1], "seen": [996, 997, 998, 999, 1_000]}
            assert journal.cursors() == {"number": 1_000}


def test_a_producer_killed_and_started_anew_is_heard_again(tmp_path: Path) -> None:
    restarts = """
        import flame, os
        node = flame.Node("Restarts")
        memory = node.memory(count=0)
        node.outputs.permanent("count", int)
        node.register()
        while memory.count < 900:
            memory.count += 1
            node.outputs.set(count=memory.count)
            if memory.count % 300 == 0 and memory.count < 900:
                os.kill(os.getpid(), 9)
    """
    with StandIn(tmp_path, {"counter": restarts, "sum": SUM.format(sleep=0)}, [EDGE]) as run:
        for _ in range(2):
            run.pump(lambda: run.processes["counter"].poll() == -9)
            run.processes["counter"].communicate()
            run.start("counter")
        assert run.run() == {"counter": 0, "sum": 0}
        assert run.output("sum") == f"900 {900 * 901 // 2} True\n"


ONCE_KILLED = """
    import flame, os
    node = flame.Node("Sum")
    number = node.inputs.flow("number", int)
    node.register()
    if not os.path.exists("crashed"):
        open("crashed", "w").close()
        os.kill(os.getpid(), 9)
    print([(record.seq, record.value) for record in number])
"""


def test_a_consumer_that_is_ahead_of_its_producer_after_a_power_cut_loses_no_new_value(tmp_path: Path) -> None:
    texts = {"counter": COUNTER.format(last=8, lifetime="permanent"), "sum": ONCE_KILLED}
    with StandIn(tmp_path, texts, [EDGE]) as run:
        with Journal.open(run.journal("counter"), ["count"]) as journal:
            for number in range(1, 6):
                journal.append({"count": values.encode(-number)}, 1)
        with Journal.open(run.journal("sum"), []) as journal:
            journal.append({}, 1, cursors={"number": 10})
        run.pump(lambda: run.processes["sum"].poll() == -9)
        assert "input number had taken values 6 to 10 of counter/count" in run.output("sum")
        (note,) = run.notes["sum"]
        assert "values 6 to 10" in note and "taken as new" in note
        # The producer is past the old position by now: what was stepped back to must have been kept.
        run.pump(lambda: run.processes["counter"].poll() is not None or run.sent("counter", "count") == 8)
        run.start("sum")
        assert run.run() == {"counter": 0, "sum": 0}
        assert run.output("sum") == f"{[(5 + number, number) for number in range(1, 9)]}\n"
        assert run.notes["sum"] == ()


def test_large_arrays_arrive_whole_and_nothing_of_them_stays(tmp_path: Path) -> None:
    source = """
        import flame, numpy
        node = flame.Node("Camera")
        node.outputs.runtime("count", "f8[*]")
        node.register()
        for number in range(1, 101):
            node.outputs.set(count=numpy.full(131_072, float(number)))
    """
    sink = """
        import flame
        node = flame.Node("Sink")
        number = node.inputs.flow("number", "f8[*]")
        node.register()
        kept = [record.value for record in number]
        print(len(kept), all((array == place).all() for place, array in enumerate(kept, 1)), kept[0].flags.writeable)
    """
    with StandIn(tmp_path, {"counter": source, "sum": sink}, [EDGE]) as run:
        shared = run.shared
        assert run.run() == {"counter": 0, "sum": 0}
        assert run.output("sum") == "100 True False\n"
        assert list(shared.iterdir())
    assert not shared.exists() and not run.sockets.exists()


def test_a_flame_node_whose_executor_is_gone_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PARENT_VARIABLE, "1")  # not the process that starts it
    with StandIn(tmp_path, {"orphan": IDLE}) as run:
        assert run.run() == {"orphan": 71}
