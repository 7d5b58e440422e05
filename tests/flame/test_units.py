"""Units: which texts are units, and what a value in one is in another."""

from __future__ import annotations

import pytest

from flame.types import units
from protocol.errors import Code, WorkflowError


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("MHz", "Hz", 1.5, 1.5e6),
        ("Hz", "MHz", 1.5e6, 1.5),
        ("degC", "K", 20.0, 293.15),
        ("K", "degC", 293.15, 20.0),
        ("degF", "degC", 212.0, 100.0),
        ("delta_degF", "delta_degC", 9.0, 5.0),
        ("mV/degC", "V/K", 1.0, 1e-3),
        ("V/sqrt(Hz)", "nV/√Hz", 1.0, 1e9),
        ("V/Hz^(1/2)", "V/Hz^0.5", 1.0, 1.0),
        ("m/s^2", "um/ms²", 1.0, 1.0),
        ("%", "ppm", 1.0, 1e4),
        ("Ω", "kOhm", 1.0, 1e-3),
        ("µm", "um", 1.0, 1.0),
        ("1/s", "Hz", 1.0, 1.0),
        ("J/(kg K)", "J/kg/K", 1.0, 1.0),
        ("eV", "J", 1.0, 1.602176634e-19),
        ("{ADU}/s", "{ADU}/min", 1.0, 60.0),
        ("cal", "J", 1.0, 4.184),
        ("MB/s", "bit/s", 1.0, 8e6),
    ],
)
def test_a_value_becomes_a_value_in_the_other_unit(source: str, target: str, value: float, expected: float) -> None:
    factor, offset = units.conversion(source, target)
    assert value * factor + offset == pytest.approx(expected, rel=1e-12)


def test_powers_of_ten_are_exact() -> None:
    assert units.conversion("GHz", "mHz") == (1e12, 0.0)
    assert units.conversion("pA", "A") == (1e-12, 0.0)


@pytest.mark.parametrize("unit", ["", "V", "1", "{ADU}"])
def test_one_unit_and_itself_leave_the_value_alone(unit: str) -> None:
    assert units.conversion(unit, unit) == (1.0, 0.0)


def test_an_input_without_a_unit_takes_values_as_they_are() -> None:
    assert units.conversion("MHz", "") == (1.0, 0.0)


@pytest.mark.parametrize(
    ("source", "target"),
    [("MHz", "V"), ("Hz", "rad/s"), ("count", "px"), ("{ADU}", "{adu}"), ("dBm", "W"), ("", "V"), ("V", "V^2")],
)
def test_what_is_not_one_quantity_does_not_convert(source: str, target: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        units.conversion(source, target)
    assert caught.value.code == Code.WIRING_WRONG


@pytest.mark.parametrize(
    "text",
    ["/", "V/", "(V", "V)", "V^", "V^^2", "m2", "m-1", "J/kg K", "0", "1/0", "√", "sqrt V", "k", "é", "x" * 101, " ",
     "V^999", "1e99999999999", "((((1e99)^50)^50)^50)^50", "m^(1/0)", "{", "{}", "V;", "V\x00"],
)  # fmt: skip
def test_what_is_no_unit_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        units.check(text)
    assert caught.value.code == Code.PORT_WRONG


@pytest.mark.parametrize(("typed", "meant"), [("Mhz", "MHz"), ("mhz", "MHz"), ("Volt", "volt"), ("secnd", "second")])
def test_the_nearest_unit_is_named(typed: str, meant: str) -> None:
    with pytest.raises(WorkflowError, match=f"did you mean '{meant}'"):
        units.check(typed)


def test_whole_names_win_over_prefixes() -> None:
    assert units.conversion("min", "s") == (60.0, 0.0)
    assert units.conversion("Pa", "N/m^2") == (1.0, 0.0)
    assert units.conversion("ft", "m") == (0.3048, 0.0)
