"""Holds a temperature: a controller with a proportional and an integral part."""

import flame

node = flame.Node("Controller", "Holds a temperature by the power of a heater")
inp, out = node.inputs, node.outputs

temperature = inp.flow("temperature", float, unit="degC", policy="latest", depth=1, doc="newest reading")
setpoint = inp.state("setpoint", float, unit="degC", limits=(0, 150), doc="wanted")
gain = inp.state("gain", float, default=2.0, unit="W/K", limits=(0, 100), doc="of the proportional part")
rate = inp.state("rate", float, default=0.02, limits=(0, 1), doc="of the integral part, for each reading")

power = out.finite("power", float, unit="W", doc="to the heater", keep="7d")
off = out.permanent("off", float, unit="delta_degC", doc="how far from the wanted temperature")

memory = node.memory(integral=0.0)  # a controller that was killed goes on where it was

node.register()

with node.dry_run() as dry:
    dry.feed(temperature, [79.0, 79.5, 80.0])
    dry.feed(setpoint, 80.0)
    dry.expect(off, near=0.0)
    dry.expect(power, near=0.06, within=0.01)

for record in temperature:
    error = setpoint.get() - record.value
    wanted = gain.get() * (error + memory.integral)
    if 0 < wanted < 50:  # at the limits of the heater the integral part waits
        memory.integral += rate.get() * error
    out.set(power=min(max(wanted, 0.0), 50.0), off=error, time=record.time)
