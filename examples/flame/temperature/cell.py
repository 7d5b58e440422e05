"""A vapour cell in an oven, simulated: heat comes from the heater and goes to the room."""

from heater_off import switch_off

import flame

node = flame.Node("Cell", "A vapour cell in an oven, simulated")
inp, out = node.inputs, node.outputs

power = inp.state("power", float, default=0.0, unit="W", limits=(0, 50), doc="of the heater")
room = inp.state("room", float, default=295.0, unit="K", doc="temperature of the room")
step = inp.state("step", float, default=10.0, unit="ms", limits=(1, 1000), doc="between two readings")

temperature = out.permanent("temperature", float, unit="K", doc="of the cell")

CAPACITY = 2.0  # J/K
CONDUCTANCE = 0.5  # W/K, to the room
SPEED = 20.0  # simulated seconds in one

memory = node.memory(temperature=295.0)

node.safe("heater_off.py")  # runs when this program did not get to its end
node.register()

with node.dry_run() as dry:
    dry.feed(power, [5.0] * 3)
    dry.feed(room, 295.0)
    dry.feed(step, 10.0)
    dry.expect(temperature, near=296.0, within=0.1)

seconds = step.get() / 1000
for _ in node.every(seconds):
    out.set(temperature=memory.temperature)  # first: the controller answers to it
    lost = CONDUCTANCE * (memory.temperature - room.get())
    memory.temperature += (power.get() - lost) / CAPACITY * seconds * SPEED

switch_off()  # what stands below the loop runs when the run stops
