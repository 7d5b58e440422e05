"""Does what is handed out. Gets slower as the day goes on, until there is coffee."""

import flame

node = flame.Node("Employee", "Works, tires, and drinks coffee")
inp, out = node.inputs, node.outputs

job = inp.flow("job", dict, doc="one piece of work")
coffee_every = inp.state("coffee_every", float, default=180.0, unit="min", limits=(15, 600), doc="between two coffees")

report = out.permanent("report", dict, doc="what was done, and how long it took")
energy = out.finite("energy", float, unit="%", doc="how fast the work goes", keep="1d")

memory = node.memory(since_coffee=0.0)

node.register()

with node.dry_run() as dry:
    dry.feed(job, [{"name": "letters", "hours": 2.0}])
    dry.feed(coffee_every, 180.0)
    dry.expect(report, equal={"name": "letters", "hours": 2.0})
    dry.expect(energy, near=100.0)

for record in job:
    if memory.since_coffee * 60 > coffee_every.get():
        memory.since_coffee = 0.0
    speed = 1.0 / (1.0 + 0.1 * memory.since_coffee)
    hours = record.value["hours"] / speed
    memory.since_coffee += hours
    out.set(report={"name": record.value["name"], "hours": hours}, energy=100.0 * speed)
