"""Says when the temperature has settled."""

import flame

node = flame.Node("Settled", "Ends the run when the temperature has settled")
inp, out = node.inputs, node.outputs

off = inp.flow("off", float, unit="delta_degC", doc="how far from the wanted temperature")
within = inp.state("within", float, default=50.0, unit="mK", doc="what counts as settled")
readings = inp.state("readings", int, default=50, limits=(1, 100_000), doc="so many in a row")

worst = out.permanent("worst", float, unit="mK", doc="of the readings that count")
done = out.runtime("done", bool, doc="true when it has settled")

node.register()

with node.dry_run() as dry:
    dry.feed(off, [1.0, 0.01, -0.02])
    dry.feed(within, 50.0)
    dry.feed(readings, 2)
    dry.expect(done, equal=True)
    dry.expect(worst, near=20.0, within=1e-9)

row = []
for record in off:
    off_mk = record.value * 1000
    row = [*row, abs(off_mk)] if abs(off_mk) <= within.get() else []
    if len(row) == readings.get():
        out.set(worst=max(row), done=True)
        break
