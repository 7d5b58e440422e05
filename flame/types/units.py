"""Units of ports: whether a text is a unit, and how a value in one becomes a value in another.

    V   MHz   um   degC   %   ppm   m/s^2   V/sqrt(Hz)   1/s   kg*m^2   {ADU}

A unit is a product of names with SI prefixes: `*`, `·`, a blank or `/` between them, whole or broken powers (`^2`,
`**2`, `^(1/2)`), `sqrt()`, parentheses. `{ADU}` is a unit of your own, which only fits itself. "" says nothing: an
input without a unit takes values as they are.

Angles are a dimension of their own, so that Hz and rad/s are never mixed up; so are counts, pixels and bits. degC and
degF have their zero only where they stand alone; `delta_degC` is a difference. dB, dBm and the like fit only
themselves.

A table of our own: a flame node checks its units while it starts, and a general library takes a second to load.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction
from typing import Final, NoReturn

from flame.types.unit_table import PREFIXES, TABLE
from protocol.errors import Code, WorkflowError

UNIT_CHARS_MAX: Final = 100  # longer than any unit that a person wrote; bounds the reading of hostile text

_SCALE_BITS_MAX: Final = 8_000  # eight times what a float holds: room for what is divided later

_ZEROS: Final = {"degC": Fraction(27315, 100), "degF": Fraction(45967, 180)}  # in kelvin

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d{1,2})?)|(?P<own>\{[^{}\s]+\})|(?P<power>\^|\*\*)|(?P<sign>[*·⋅/()√-])"
    r"|(?P<name>[^\W\d]+|[%‰°][^\W\d]*))"
)
_SUPERSCRIPTS: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")


class _Unit:
    """`scale` of base units; `powers` by name of the base unit; `zero`: where its 0 lies, in base units."""

    __slots__ = ("powers", "scale", "zero")

    def __init__(self, scale: Fraction, powers: dict[str, Fraction], zero: Fraction = Fraction(0)) -> None:
        self.scale = scale
        self.powers = {name: power for name, power in powers.items() if power}
        self.zero = zero

    def times(self, other: _Unit, sign: int = 1) -> _Unit:
        powers = dict(self.powers)
        for name, power in other.powers.items():
            powers[name] = powers.get(name, Fraction(0)) + sign * power
        return _Unit(self.scale * _raised(other.scale, Fraction(sign)), powers)

    def to(self, power: Fraction) -> _Unit:
        return _Unit(_raised(self.scale, power), {name: own * power for name, own in self.powers.items()})


def check(unit: str) -> None:
    """Raises WorkflowError(PORT_WRONG) for a text that is no unit; names the nearest one."""
    if unit:
        _read(unit)


def conversion(source: str, target: str) -> tuple[float, float]:
    """(factor, offset) so that `value * factor + offset` is in the unit `target`.

    Raises WorkflowError(WIRING_WRONG) where there is none, WorkflowError(PORT_WRONG) for a text that is no unit.
    """
    if not target or source == target:
        check(source)
        return 1.0, 0.0
    wanted = _read(target)
    if not source:
        raise _no_way("a value without a unit", target, "declare the unit at the output")
    given = _read(source)
    if given.powers != wanted.powers:
        raise _no_way(source, target, "join ports of one physical quantity, or convert in a flame node of your own")
    try:
        return float(given.scale / wanted.scale), float((given.zero - wanted.zero) / wanted.scale)
    except OverflowError:
        raise _no_way(source, target, "choose units that are closer to one another") from None


def _no_way(source: str, target: str, next_step: str) -> WorkflowError:
    return WorkflowError(Code.WIRING_WRONG, f"{source} does not convert to {target}", next_step=next_step)


def _raised(scale: Fraction, power: Fraction) -> Fraction:
    """Raises OverflowError for what a float could not hold by far."""
    if max(scale.numerator.bit_length(), scale.denominator.bit_length()) * abs(power) > _SCALE_BITS_MAX:
        raise OverflowError
    if power.denominator == 1:
        return scale**power.numerator
    return Fraction(float(scale) ** float(power))


# --- reading -----------------------------------------------------------------------------------


@functools.lru_cache(maxsize=512)  # a workflow has few units; they are asked for at each port
def _read(text: str) -> _Unit:
    if len(text) > UNIT_CHARS_MAX:
        _refuse(text, f"has more than {UNIT_CHARS_MAX} characters")
    try:
        unit = _Reader(text, _table()).whole()
        if float(unit.scale) == 0.0:
            raise OverflowError
        return unit
    except (OverflowError, ZeroDivisionError):
        _refuse(text, "is too large or too small")


class _Reader:
    """Reads a product. `J/kg/K` and `J/(kg K)` are the same; `J/kg K` is refused, since people mean either."""

    _POWER_MAX: Final = 50  # above: nobody's unit, and numbers without end

    def __init__(self, text: str, known: dict[str, tuple[_Unit, bool]]) -> None:
        self._text = text
        self._known = known
        self._tokens = list(self._split(text))
        self._at = 0

    def whole(self) -> _Unit:
        if len(self._tokens) == 1 and self._tokens[0][1] in self._known:
            return self._known[self._tokens[0][1]][0]  # with its zero
        unit = self._product()
        if self._at < len(self._tokens):
            _refuse(self._text, f"cannot be read at {self._tokens[self._at][1]!r}")
        return unit

    def _split(self, text: str) -> list[tuple[str, str]]:
        found, at = [], 0
        text = re.sub(r"([⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)", lambda match: "^" + match[1].translate(_SUPERSCRIPTS), text.rstrip())
        end = len(text)
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                _refuse(self._text, f"cannot be read at {text[at:].strip()[:1]!r}")
            found.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        return found

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _take(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def _product(self) -> _Unit:
        unit, divided = self._term(), False
        while True:
            kind, sign = self._peek()
            if sign in ("*", "·", "⋅", "/"):
                self._take()
                unit = unit.times(self._term(), -1 if sign == "/" else 1)
                divided = divided or sign == "/"
            elif kind in ("name", "own") or sign in ("(", "√"):
                if divided:
                    _refuse(self._text, f"does not say whether {sign!r} stands above or below the '/': use parentheses")
                unit = unit.times(self._term())
            else:
                return unit

    def _term(self) -> _Unit:
        kind, word = self._take()
        if word == "√":
            return self._term().to(Fraction(1, 2))
        if word == "sqrt":
            self._expect("(")
            return self._closed().to(Fraction(1, 2))
        if word == "(":
            unit = self._closed()
        elif kind == "number":
            unit = _Unit(Fraction(word), {})
        elif kind == "own":
            unit = _Unit(Fraction(1), {word: Fraction(1)})
        elif kind == "name":
            unit = self._named(word)
        else:
            _refuse(self._text, f"lacks a unit before {word!r}" if word else "ends too early")
        return unit.to(self._power())

    def _closed(self) -> _Unit:
        unit = self._product()
        self._expect(")")
        return unit

    def _expect(self, sign: str) -> None:
        if self._take()[1] != sign:
            _refuse(self._text, f"lacks a {sign!r}")

    def _power(self) -> Fraction:
        """Behind `^` or `**` alone: `m2` is refused."""
        kind, sign = self._peek()
        if kind != "power":
            if sign == "-":
                _refuse(self._text, "has a '-' without a '^' before it")
            return Fraction(1)
        self._take()
        if self._peek()[1] == "(":
            self._take()
            power = self._number()
            if self._peek()[1] == "/":
                self._take()
                power /= self._number()
            self._expect(")")
        else:
            power = self._number()
        if abs(power) > self._POWER_MAX or power.denominator > self._POWER_MAX:
            _refuse(self._text, "has a power that is too large")
        return power

    def _number(self) -> Fraction:
        sign = 1
        if self._peek()[1] == "-":
            self._take()
            sign = -1
        kind, word = self._take()
        if kind != "number" or len(word) > 6:
            _refuse(self._text, "has a power that is no number")
        return sign * Fraction(word)

    def _named(self, word: str) -> _Unit:
        if word in self._known:
            unit = self._known[word][0]
            return _Unit(unit.scale, unit.powers)
        for size in (1, 2):
            scale, known = PREFIXES.get(word[:size]), self._known.get(word[size:])
            if scale is not None and known is not None and known[1]:
                return _Unit(scale * known[0].scale, known[0].powers)
        near = _nearest(word, self._known)
        return _refuse(self._text, f"holds {word!r}, which is no unit", f"did you mean {near!r}? " if near else "")


@functools.cache
def _table() -> dict[str, tuple[_Unit, bool]]:
    """By name: the unit, and whether it takes prefixes."""
    known: dict[str, tuple[_Unit, bool]] = {}
    for line in TABLE.strip().splitlines():
        names, meaning, prefixes = (part.strip() for part in line.split("|"))
        first = names.split()[0]
        base = meaning == "="
        unit = _Unit(Fraction(1), {first: Fraction(1)}) if base else _Reader(meaning, known).whole()
        unit = _Unit(unit.scale, unit.powers, _ZEROS.get(first, Fraction(0)))
        for name in names.split():
            known[name] = (unit, prefixes == "si")
    return known


def _nearest(word: str, known: dict[str, tuple[_Unit, bool]]) -> str:
    """A known unit that differs in the case of its letters, else in little."""
    import difflib  # for an error alone

    names = list(known) + [prefix + name for name, (_, takes) in known.items() if takes for prefix in "GMkmunp"]
    same = [name for name in names if name.lower() == word.lower()]
    return (same or difflib.get_close_matches(word, names, 1, 0.7) or [""])[0]


def _refuse(text: str, why: str, hint: str = "") -> NoReturn:
    shown = text if len(text) <= 40 else text[:40] + "…"
    raise WorkflowError(
        Code.PORT_WRONG,
        f"the unit {shown!r} {why}",
        next_step=f"{hint}write a unit such as MHz, V/sqrt(Hz) or m/s^2; one of your own stands in braces: {{ADU}}",
    )
