"""Steps to the left and to the right of a resonance, around where the feedback says that it is."""

import flame

node = flame.Node("Scan", "Steps around a resonance that drifts")
inp, out = node.inputs, node.outputs

points = inp.state("points", int, limits=(2, 1_000_000), doc="how many settings")
start = inp.state("start", float, unit="MHz", doc="where the resonance is thought to be at first")
span = inp.state("span", float, default=50.0, unit="kHz", limits=(1, 1000), doc="from the middle to each side")
centre = inp.flow("centre", float, unit="MHz", doc="where the feedback says that it is, one for each setting")

setting = out.permanent("setting", float, unit="MHz", doc="frequency of the drive")
side = out.permanent("side", int, doc="-1 below the middle, 1 above")
finished = out.runtime("finished", bool, doc="true after the last setting")

memory = node.memory(point=0)

node.register()

with node.dry_run() as dry:
    dry.feed(points, 3)
    dry.feed(start, 100.0)
    dry.feed(span, 50.0)
    dry.feed(centre, [100.0, 100.01, 100.01])
    dry.expect(setting, near=99.96, within=1e-9)
    dry.expect(side, equal=-1)

middle = start.get()
while memory.point < points.get():
    where = -1 if memory.point % 2 == 0 else 1
    memory.point += 1
    out.set(setting=middle + where * span.get() / 1000, side=where)
    middle = centre.get()
out.set(finished=True)
