"""Each example runs from a fresh copy by one command; its archive says what was measured, in units and with times."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

pytestmark = pytest.mark.system

EXAMPLES = Path(__file__).parents[3] / "examples" / "flame"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/workflow.py"))
NODE_FILES = sorted(path for path in EXAMPLES.glob("*/*.py") if path.name not in ("workflow.py", "heater_off.py"))
MADE = shutil.ignore_patterns("flame_runs", "flame_nodes", "schema", "__pycache__", "heater.txt")
LIMIT_S = 100.0


def flame(folder: Path, *words: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "flotta_p2p", "flame", *words]
    ended = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S)
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture
def ran(tmp_path: Path) -> Callable[[str], Path]:
    def run(name: str) -> Path:
        folder = tmp_path / name
        shutil.copytree(EXAMPLES / name, folder, ignore=MADE)
        result = json.loads(flame(folder, "run", "--json"))
        assert result["end"] == "stopped" and result["alias"] == "j1", result
        assert all(one["restarts"] == 0 for one in result["nodes"].values())
        return folder

    return run


def archive(folder: Path) -> Any:
    return h5py.File(folder / "flame_runs" / "j1" / "j1.h5")


def values(folder: Path, address: str) -> list[Any]:
    return [one["value"] for one in json.loads(flame(folder, "cat", address, "--json"))["values"]]


def test_there_are_three_examples_and_each_is_explained() -> None:
    assert NAMES == ["office", "scan", "temperature"]
    overview = (EXAMPLES / "README.md").read_text("utf-8")
    for name in NAMES:
        assert f"({name}/README.md)" in overview and (EXAMPLES / name / "README.md").is_file()


@pytest.mark.parametrize("file", NODE_FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_flame_node_of_the_examples_passes_its_dry_run(file: Path, tmp_path: Path) -> None:
    shutil.copytree(file.parent, tmp_path / "copy", ignore=MADE)
    assert "expectations met" in flame(tmp_path / "copy", "dry", file.name)


def test_the_office_works_through_the_list_of_its_parameters_file(ran: Callable[[str], Path]) -> None:
    folder = ran("office")
    jobs = json.loads((folder / "parameters.json").read_text())["boss"]["jobs"]
    assert [one["name"] for one in values(folder, "#boss/job")] == [name for name, _ in jobs]
    assert [one["name"] for one in values(folder, "#anna/report")] == [name for name, _ in jobs]
    spent = sum(one["hours"] for one in values(folder, "#anna/report"))
    with archive(folder) as file:
        dataset = file["boss/spent"]
        assert dataset.attrs["unit"] == "h" and dataset[-1] == pytest.approx(spent)
    assert "letters took 1.00 h" in flame(folder, "cat", "#boss/log")
    assert "took 4 of job" in flame(folder, "dry", "employee.py", "--from", "last")


def test_the_scan_follows_the_resonance_and_loses_no_point(ran: Callable[[str], Path]) -> None:
    folder = ran("scan")
    with archive(folder) as file:
        points = {
            name: len(file[name]) for name in ("scan/setting", "correction/excited", "estimate/off", "feedback/centre")
        }
        assert set(points.values()) == {120}, points
        assert file["feedback/centre"].attrs["unit"] == "MHz"
        times = file["feedback/centre_time"][:]
        assert times.dtype == np.int64 and (np.diff(times) >= 0).all() and times[0] > 1_700_000_000 * 10**9
        centre = file["feedback/centre"][60:]
    field = np.array(values(folder, "#surroundings/field"))  # mG; 1.4 kHz for each
    assert centre.mean() == pytest.approx(100.02 + 1.4e-3 * field.mean(), abs=0.02)
    wrong = np.mean(values(folder, "#correction/corrected")) / (400 * 5)
    assert wrong == pytest.approx(0.1, abs=0.02)
    first = values(folder, "#apparatus/readouts[0]")[0]
    assert first["$array"][:2] == ["|u1", [400, 5]]


def test_the_temperature_settles_and_the_heater_is_off_afterwards(ran: Callable[[str], Path]) -> None:
    folder = ran("temperature")
    assert (folder / "heater.txt").read_text() == "off\n"
    assert values(folder, "#settled/worst")[0] <= 50.0
    with archive(folder) as file:
        temperature = file["cell/temperature"]
        assert temperature.attrs["unit"] == "K"
        assert temperature[0] == 295.0 and temperature[-1] == pytest.approx(273.15 + 60.0, abs=0.1)
    seen = values(folder, "#controller/in/temperature[-1]")[0]
    assert seen == pytest.approx(60.0, abs=0.1)
