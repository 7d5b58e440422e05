"""What of the machine of a run concerns who looks at the run from outside."""

from __future__ import annotations

from collections.abc import Mapping

from flame.control import Beat
from flame.run.run_progress import NodeProgress, Progress
from flame.run.waits import waits_for
from protocol.machines.flame_events import NodeView, RunView


def progress_of(view: RunView, beats: Mapping[str, Beat]) -> Progress:
    """How each flame node is."""
    return Progress({one.name: _progress(one, beats.get(one.name, Beat())) for one in view.nodes})


def _progress(view: NodeView, beat: Beat) -> NodeProgress:
    return NodeProgress(
        state=view.end if view.state == "ended" and view.end is not None else view.state,
        restarts=view.restarts,
        exit_code=view.code,
        signal=view.signal,
        problem=view.problem,
        waits_for=waits_for(beat) if view.state == "running" else "",
        inputs=beat.inputs,
        sent=beat.sent,
    )
