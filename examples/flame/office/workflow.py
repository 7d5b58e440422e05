"""An office of two."""

from flame_nodes import Boss, Employee

from flame import Workflow

wf = Workflow("Office", "A boss hands out work, an employee does it")

boss = Boss("boss")
anna = Employee("anna", job=boss.o.job, coffee_every=2.0 * 60)
boss.i.report = anna.o.report  # each waits for the other: a cycle is normal

anna.restart("on-failure", max=3, within="1min")
wf.stop_when(boss.o.finished)
