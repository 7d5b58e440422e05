"""Follows the resonance: a share of what it is off goes to the middle of the next setting."""

import flame

node = flame.Node("Feedback", "Follows a resonance")
inp, out = node.inputs, node.outputs

off = inp.flow("off", float, unit="MHz", doc="how far the resonance is above the middle")
start = inp.state("start", float, unit="MHz", doc="where the resonance is thought to be at first")
gain = inp.state("gain", float, default=0.4, limits=(0, 1), doc="share that is corrected at once")

centre = out.permanent("centre", float, unit="MHz", doc="where the resonance is")

memory = node.memory(centre=None)

node.register()

with node.dry_run() as dry:
    dry.feed(off, [0.01, 0.0])
    dry.feed(start, 100.0)
    dry.feed(gain, 0.5)
    dry.expect(centre, near=100.005, within=1e-9)

for record in off:
    before = start.get() if memory.centre is None else memory.centre
    memory.centre = before + gain.get() * record.value
    out.set(centre=memory.centre, time=record.time)
