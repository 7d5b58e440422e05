"""The manual of workflows does what it says: its files are those of a lab."""

from __future__ import annotations

import re
from pathlib import Path

from flame.authoring import parameters
from flame.authoring.loading import load
from flame.types import port_types, units
from tests.flame.labs import Lab

MANUAL = (Path(__file__).parents[2] / "docs" / "flame" / "workflows.md").read_text("utf-8")


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", MANUAL, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_the_first_workflow_of_the_manual_is_sound(tmp_path: Path) -> None:
    lab = Lab(tmp_path).nodes()
    graph = load(lab.write("workflow.py", block("python"))).checked()
    assert [(edge.source, edge.target, edge.policy) for edge in graph.edges] == [
        ("lock", "scope", "latest"),
        ("scope", "lock", "latest"),
    ]
    assert graph.stop_when == (("lock", "done"),)


def test_the_parameters_file_of_the_manual_reads(tmp_path: Path) -> None:
    path = tmp_path / "parameters.json"
    path.write_text(block("json"), "utf-8")
    file = parameters.read(path)
    assert file.values["scope"]["rate"] == 2.5
    assert parameters.address_of(file.values["scope"]["gain"]) == "#/last/lock/error"
    assert parameters.MISSING_MARK in file.values["lock"]["target"]


def test_types_of_the_manual_fit_as_it_says() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (`.+`) \| (fits|never)", MANUAL, re.MULTILINE)
    assert len(rows) == 5
    for source, targets, verdict in rows:
        for target in re.findall(r"`([^`]+)`", targets.replace("\\|", "|")):
            assert (port_types.fits(source, target) == "") == (verdict == "fits"), (source, target)


def test_units_of_the_manual_convert() -> None:
    for source, target in re.findall(r"`([^`]+)` to `([^`]+)`", MANUAL):
        units.conversion(source, target)
    for unit in ("kg*m^2/s^2", "J/(kg K)", "{ADU}", "delta_degC"):
        assert f"`{unit}`" in MANUAL
        units.check(unit)
