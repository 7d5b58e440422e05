"""What is told of a measurement."""

from __future__ import annotations

import pytest

from flotta_p2p.flame_bench.rows import Aim, cells, fault, row


@pytest.mark.parametrize(
    ("aim", "value", "raw", "text", "met"),
    [
        (Aim(1.3, at_most=True, of_raw=True), 130.0, 100.0, "<= 1.3 x raw", True),
        (Aim(1.3, at_most=True, of_raw=True), 131.0, 100.0, "<= 1.3 x raw", False),
        (Aim(1.0, of_raw=True), 99.0, 100.0, ">= 1 x raw", False),
        (Aim(100_000), 100_000.0, 5.0, ">= 100,000", True),
        (Aim(3.0, at_most=True), 3.1, None, "<= 3", False),
    ],
)
def test_an_aim_is_met_by_the_value_or_by_its_ratio_to_raw(
    aim: Aim, value: float, raw: float | None, text: str, met: bool
) -> None:
    told = row("it", "1/s", value, raw, aim)
    assert (told.aim, told.met) == (text, met)


def test_what_could_not_be_measured_says_why_and_meets_no_aim() -> None:
    told = fault("it", "s", Aim(3.0, at_most=True), "failed: pour")
    assert told.met is False and cells(told) == ("it", "", "", "", "s", "<= 3", "failed: pour")


def test_a_measurement_without_an_aim_is_neither() -> None:
    assert cells(row("it", "1/s", 24_991.4, 82_564.0, None)) == ("it", "24,991", "82,564", "0.30", "1/s", "", "")
