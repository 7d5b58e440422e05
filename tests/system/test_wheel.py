"""What people install: the built wheel alone, in an empty environment, run from an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.system
ROOT: Final = Path(__file__).parents[2]
INSTALL_LIMIT_S: Final = 300


def _run(argv: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False
    )


@pytest.mark.timeout(3 * INSTALL_LIMIT_S)
def test_the_wheel_in_an_empty_environment_runs_the_demo_from_an_empty_folder(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    built = _run([sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)], empty)
    assert built.returncode == 0, built.stdout + built.stderr
    [wheel] = tmp_path.glob("*.whl")
    files = zipfile.ZipFile(wheel).namelist()
    assert {"flotta_p2p/standalone.yaml", "flotta_p2p/tables/penguins.csv"} <= set(files)
    packages = {name.partition("/")[0] for name in files}
    assert {"flotta_p2p", "actors", "protocol", "flame"} <= packages
    assert not packages & {"simulations", "tests", "tools", "docs"}

    environment = tmp_path / "environment"
    made = _run([sys.executable, "-m", "venv", str(environment)], empty)
    assert made.returncode == 0, made.stdout + made.stderr
    python = environment / "bin" / "python"
    installed = _run([str(python), "-m", "pip", "install", "--quiet", str(wheel)], empty)
    assert installed.returncode == 0, installed.stdout + installed.stderr

    explained = _run([str(environment / "bin" / "flotta-p2p"), "explain", "port-taken"], empty)
    assert explained.returncode == 0, explained.stdout + explained.stderr
    assert explained.stdout.startswith("# port-taken")

    demo = _run([str(environment / "bin" / "flotta-p2p"), "demo", "--json"], empty)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert json.loads(demo.stdout)["equal"] is True
    assert list(empty.iterdir()) == []
