"""Two neighbouring points, one on each side, tell how far the middle is off."""

import flame

node = flame.Node("Estimate", "How far a resonance is off, from both of its sides")
inp, out = node.inputs, node.outputs

side = inp.flow("side", int, doc="-1 below the middle, 1 above")
excited = inp.flow("excited", float, doc="share of shots in the upper state")
slope = inp.state("slope", float, default=125.0, unit="kHz", limits=(1, 10_000), doc="off, for a whole difference")

off = out.permanent("off", float, unit="kHz", doc="how far the resonance is above the middle")

memory = node.memory(low=None, high=None)

node.register()

with node.dry_run() as dry:
    dry.feed(side, [-1, 1])
    dry.feed(excited, [0.7, 0.8])
    dry.feed(slope, 100.0)
    dry.expect(off, near=10.0, within=1e-9)
    dry.expect(off, count=2)

for record in side:
    share = excited.get()
    if record.value < 0:
        memory.low = share
    else:
        memory.high = share
    known = memory.low is not None and memory.high is not None
    out.set(off=slope.get() * (memory.high - memory.low) if known else 0.0, time=record.time)
