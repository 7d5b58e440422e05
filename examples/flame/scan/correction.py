"""Corrects errors of readout: of five readouts of one shot the majority counts."""

import numpy as np

import flame

node = flame.Node("Correction", "Corrects wrong readouts by the majority of five")
inp, out = node.inputs, node.outputs

readouts = inp.flow("readouts", "u1[*, 5]", doc="0 or 1, for each shot and readout")

excited = out.permanent("excited", float, doc="share of shots in the upper state")
corrected = out.permanent("corrected", int, doc="readouts that the majority contradicted")

node.register()

with node.dry_run() as dry:
    dry.feed(readouts, [np.array([[1, 1, 0, 1, 1], [0, 0, 0, 1, 0]], dtype="u1")])
    dry.expect(excited, near=0.5)
    dry.expect(corrected, equal=2)

for record in readouts:
    majority = record.value.sum(axis=1) >= 3
    contradicted = record.value != majority[:, None]
    out.set(excited=float(majority.mean()), corrected=int(contradicted.sum()), time=record.time)
