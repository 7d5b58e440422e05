"""The apparatus, simulated: each shot reads one qubit out five times, and every readout may be wrong."""

import numpy as np

import flame

node = flame.Node("Apparatus", "A resonance that follows a field, simulated")
inp, out = node.inputs, node.outputs

setting = inp.flow("setting", float, unit="Hz", doc="frequency of the drive")
field = inp.state("field", float, unit="G", doc="of the surroundings")
resonance = inp.state("resonance", float, default=100.02, unit="MHz", doc="without a field")
width = inp.state("width", float, default=100.0, unit="kHz", limits=(1, 1000), doc="of the resonance, half of it")
wrong = inp.state("wrong", float, default=0.1, limits=(0, 0.5), doc="share of readouts that are wrong")
shots = inp.state("shots", int, default=400, limits=(1, 1_000_000), doc="of one setting")
seed = inp.state("seed", int, default=2, doc="of the random numbers")

readouts = out.permanent("readouts", "u1[*, 5]", doc="0 or 1, for each shot and readout")

SHIFT_HZ = 1.4e6  # for each gauss

node.register()

with node.dry_run() as dry:
    dry.feed(setting, [100.02e6])
    dry.feed(field, 0.0)
    dry.feed(resonance, 100.02)
    dry.feed(width, 100.0)
    dry.feed(wrong, 0.0)
    dry.feed(shots, 10)
    dry.feed(seed, 2)
    dry.expect(readouts, count=1)

chance = np.random.default_rng(seed.get())
for record in setting:
    off_khz = (record.value - resonance.get() * 1e6 - SHIFT_HZ * field.get()) / 1e3
    excited = chance.random(shots.get()) < 1 / (1 + (off_khz / width.get()) ** 2)
    flipped = chance.random((shots.get(), 5)) < wrong.get()
    out.set(readouts=(excited[:, None] ^ flipped).astype("u1"), time=record.time)
