"""The ZeroMQ context of a flame node's edges."""

from __future__ import annotations

import contextlib
import os

import zmq


def edge_context() -> zmq.Context[zmq.Socket[bytes]]:
    """One whose thread does not interrupt a program that is about to set the next value.

    ZeroMQ's thread is woken by each value that is sent while it sleeps. On a machine with more to do than cores it
    takes the core from the program each time, and so does the next process behind it: that halves the rate of small
    values, and more. With the policy SCHED_BATCH it runs when a core is free, or when the program waits.
    What it costs: where all cores are busy with others, a value may wait for the end of a time slice, some ms.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    if os.sched_getscheduler(0) != os.SCHED_OTHER:  # somebody has chosen another
        return context
    with contextlib.suppress(OSError):  # a sandbox without it
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        try:
            context.socket(zmq.PAIR).close()  # makes the thread, which takes over the policy of this one
        finally:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return context
