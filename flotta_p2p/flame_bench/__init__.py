"""`flame bench`: what flame nodes of this machine reach, beside raw ZeroMQ in the same processes.

nodes/       the flame nodes that are measured; each prints what it found as one line of JSON
raw.py       the same exchanges with ZeroMQ alone, over the same transport
measuring.py a workflow for each measurement, run by the executor
rows.py      what is told of each, with its aim
"""
