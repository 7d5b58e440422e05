"""The units that `flame.types.units` knows, and the prefixes before them."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

PREFIXES: Final = {
    name: Fraction(10) ** power
    for names, power in (
        ("Q", 30), ("R", 27), ("Y", 24), ("Z", 21), ("E", 18), ("P", 15), ("T", 12), ("G", 9), ("M", 6), ("k", 3),
        ("h", 2), ("da", 1), ("d", -1), ("c", -2), ("m", -3), ("u µ μ", -6), ("n", -9), ("p", -12), ("f", -15),
        ("a", -18), ("z", -21), ("y", -24), ("r", -27), ("q", -30),
    )
    for name in names.split()
}  # fmt: skip

# Names, what one of them is in units known before, and whether prefixes go with them.
TABLE: Final = """
m meter metre | = | si
g gram | = | si
s sec second | = | si
A ampere | = | si
K kelvin delta_degC | = | si
mol mole | = | si
cd candela | = | si
rad radian | = | si
count counts | = | si
px pixel | = | si
bit | = | si
cps | count/s | si
one | 1 | no
% percent | 1/100 | no
‰ | 1/1000 | no
ppm | 1/1000000 | no
ppb | 1/1000000000 | no
Hz hertz | s^-1 | si
Bq | s^-1 | si
N newton | kg m/s^2 | si
Pa pascal | N/m^2 | si
J joule | N m | si
W watt | J/s | si
C coulomb | A s | si
V volt | W/A | si
F farad | C/V | si
Ω Ω Ohm ohm | V/A | si
S siemens | A/V | si
Wb weber | V s | si
T tesla | Wb/m^2 | si
H henry | Wb/A | si
sr steradian | rad^2 | si
lm lumen | cd sr | si
lx lux | lm/m^2 | si
Gy gray | J/kg | si
Sv sievert | J/kg | si
kat katal | mol/s | si
min minute | 60 s | no
h hr hour | 3600 s | no
d day | 24 h | no
week | 7 d | no
yr year | 365.25 d | no
deg ° degree | 0.017453292519943295 rad | si
arcmin | (1/60) deg | no
arcsec | (1/60) arcmin | si
turn rev cycle | 6.283185307179586 rad | no
rpm | turn/min | no
L l liter litre | 0.001 m^3 | si
t tonne | 1000 kg | no
u amu Da dalton | 1.66053906892e-27 kg | no
eV electronvolt | 1.602176634e-19 J | si
bar | 100000 Pa | si
atm | 101325 Pa | no
Torr torr | (101325/760) Pa | si
mmHg | 133.322387415 Pa | no
psi | 6894.757293168361 Pa | no
G gauss | 0.0001 T | si
Oe oersted | 79.57747154594767 A/m | no
Å angstrom Angstrom | 0.0000000001 m | no
in inch | 0.0254 m | no
ft foot | 0.3048 m | no
mi mile | 1609.344 m | no
lb | 0.45359237 kg | no
cal | 4.184 J | si
kWh | 3600000 J | no
Wh | 3600 J | si
Ah | 3600 C | si
M molar | 1000 mol/m^3 | si
D debye | 3.3356409519815204e-30 C m | no
B byte | 8 bit | si
Ci curie | 37000000000 Bq | si
sample samples Sa | = | si
shot shots | = | no
arb | = | no
degC °C celsius | K | no
degF °F fahrenheit | (5/9) K | no
delta_degF | (5/9) K | no
dB | = | no
dBm | = | no
dBc | = | no
dBV | = | no
dBu | = | no
dBFS | = | no
"""
