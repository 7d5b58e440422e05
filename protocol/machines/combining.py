"""What several steps of one machine want, as one batch: fewer messages, fewer rows, the same meaning.

Pure and without memory: nothing waits for more to come. A shell gives a machine all that lies in its mailbox at once
(`Courier.turn`); with one event in it nothing is combined, and nobody waited.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Final

import msgspec

from protocol.limits import ACKNOWLEDGED_AT_ONCE_MAX, RESULTS_AT_ONCE_MAX, RESULTS_BYTES_MAX
from protocol.machines.contract import Drop, Effect, KillTask, Publish, Put, Send, SetTimer, StartTask, Write
from protocol.machines.events import JobChanged
from protocol.plan.products import carried_bytes
from protocol.wire.jobs import Results
from protocol.wire.peers import Acknowledge

_ENVELOPE_BYTES: Final = 48  # a little more than msgpack adds to an outcome and its product


def combine_effects(effects: Iterable[Effect]) -> list[Effect]:
    """Acknowledgements for one peer, results of one job for one scheduler become few messages, in the place of the
    first. Of timers of one name, and of news of one job, the newest stays, in its place. A task that was stopped again
    is not started.
    """
    kept: dict[Hashable, Effect] = {}
    open_batches: dict[Hashable, Hashable] = {}  # what may still grow → where it is kept
    for number, effect in enumerate(effects):
        match effect:
            case SetTimer(name=name):
                kept.pop(("timer", name), None)
                kept["timer", name] = effect
            case Publish(event=JobChanged(status=status)):
                kept.pop(("job", status.job_id), None)
                kept["job", status.job_id] = effect
            case StartTask(key=key):
                kept["task", key] = effect
            case KillTask(key=key):
                kept.pop(("task", key), None)
                kept[number] = effect
            case Send(message=Results() | Acknowledge(), message_id=b""):
                batch = _batch_of(effect)
                at = open_batches.get(batch)
                joined = None if at is None else _joined(kept[at], effect)  # type: ignore[arg-type]
                if at is None or joined is None:
                    open_batches[batch] = number
                    kept[number] = effect
                else:
                    kept[at] = joined
            case _:
                kept[number] = effect
    return list(kept.values())


def combine_writes(writes: Iterable[Write]) -> tuple[Write, ...]:
    """Of several writes of one row only the last: they are committed together or not at all."""
    kept: dict[Hashable, Write] = {}
    for number, write in enumerate(writes):
        at: Hashable = (write.kind, write.key) if isinstance(write, Put | Drop) else number
        kept.pop(at, None)
        kept[at] = write
    return tuple(kept.values())


def _batch_of(send: Send) -> Hashable:
    """Sends with the same may travel together."""
    message = send.message
    what = message.job_id if isinstance(message, Results) else message.type
    return (type(message), what, send.to, send.session, send.project, send.fence)


def _joined(first: Send, second: Send) -> Send | None:
    """Both as one message, or None when it would be too large."""
    one, two = first.message, second.message
    if isinstance(one, Acknowledge):
        ids = (*one.message_ids, *two.message_ids)
        if len(ids) > ACKNOWLEDGED_AT_ONCE_MAX:
            return None
        return msgspec.structs.replace(first, message=Acknowledge(type=one.type, message_ids=ids))
    results = (*one.results, *two.results)
    if len(results) > RESULTS_AT_ONCE_MAX:
        return None
    if sum(len(each.outcome) + carried_bytes(each.product) + _ENVELOPE_BYTES for each in results) > RESULTS_BYTES_MAX:
        return None
    return msgspec.structs.replace(first, message=Results(job_id=one.job_id, results=results))
