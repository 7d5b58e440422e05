"""The magnetic field around the apparatus, simulated: it wanders."""

import random

import flame

node = flame.Node("Surroundings", "A magnetic field that wanders, simulated")
inp, out = node.inputs, node.outputs

wander = inp.state("wander", float, default=0.2, unit="mG", limits=(0, 100), doc="of one step")
every = inp.state("every", float, default=5.0, unit="ms", limits=(1, 10_000), doc="between two steps")
seed = inp.state("seed", int, default=1, doc="of the random numbers")

field = out.finite("field", float, unit="mG", doc="of the surroundings", keep="1d")

memory = node.memory(field=0.0)

node.register()

with node.dry_run() as dry:
    dry.feed(wander, [0.0] * 4)
    dry.feed(every, 5.0)
    dry.feed(seed, 1)
    dry.expect(field, equal=0.0)

chance = random.Random(seed.get())
for _ in node.every(every.get() / 1000):
    memory.field += chance.gauss(0.0, wander.get())
    out.set(field=memory.field)
