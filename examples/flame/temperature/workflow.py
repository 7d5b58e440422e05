"""A cell at a temperature."""

from flame_nodes import Cell, Controller, Settled

from flame import Workflow

wf = Workflow("Temperature loop", "Heats a vapour cell and holds it")

cell = Cell("cell")
controller = Controller("controller", temperature=cell.o.temperature)  # K become degC by themselves
cell.i.power = controller.o.power
settled = Settled("settled", off=controller.o.off)

controller.restart("on-failure", max=5, within="1min")
wf.stop_when(settled.o.done)
