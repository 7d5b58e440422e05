"""Hands out the work of a day, one piece after the other, and waits for each report."""

import flame

node = flame.Node("Boss", "Hands out work and waits for the reports")
inp, out = node.inputs, node.outputs

jobs = inp.state("jobs", list, doc="what is to be done: pairs of a name and the hours that it takes")
report = inp.flow("report", dict, doc="what was done, and how long it took")

job = out.permanent("job", dict, doc="one piece of work")
spent = out.permanent("spent", float, unit="h", doc="hours of work so far")
finished = out.runtime("finished", bool, doc="true when all is done")

memory = node.memory(given=0, spent=0.0)  # comes back when this program was killed in between

node.register()

with node.dry_run() as dry:  # the file run alone: `flame dry boss.py`
    dry.feed(jobs, [[["letters", 2.0], ["accounts", 3.0]]])
    dry.feed(report, [{"name": "letters", "hours": 2.5}, {"name": "accounts", "hours": 3.0}])
    dry.expect(spent, near=5.5)

for name, hours in jobs.get()[memory.given :]:
    memory.given += 1
    out.set(job={"name": name, "hours": hours})
    done = report.get()
    memory.spent += done["hours"]
    out.set(spent=memory.spent)
    print(f"{done['name']} took {done['hours']:.2f} h")
out.set(finished=True)
