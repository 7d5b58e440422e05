from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import flotta_p2p
from protocol.errors import Code

ROOT = Path(flotta_p2p.__file__).parents[1]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_version_is_that_of_the_distribution() -> None:
    assert flotta_p2p.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.mark.parametrize("name", ["protocol", "actors", "flame"])
def test_a_foreign_module_in_the_current_folder_is_named_in_one_sentence(tmp_path: Path, name: str) -> None:
    foreign = tmp_path / f"{name}.py"
    foreign.write_text("raise SystemExit('this ran')")
    ended = run(tmp_path, "-m", "flotta_p2p")
    assert ended.returncode == 1 and "Traceback" not in ended.stderr and "this ran" not in ended.stderr
    assert f'"{name}" would be imported from {foreign}, which is not part of flotta-p2p;' in ended.stderr
    assert "Next: rename or remove it, or start in another folder." in ended.stderr


def test_a_foreign_package_on_the_path_stops_the_import_of_the_product(tmp_path: Path) -> None:
    (tmp_path / "flame").mkdir()
    (tmp_path / "flame" / "__init__.py").touch()
    ended = run(tmp_path, "-c", "try: import flotta_p2p\nexcept ImportError as error: print(error.code)")
    assert ended.stdout.strip() == Code.SHADOWED_PACKAGE.value


def test_a_folder_without_code_does_not_shadow(tmp_path: Path) -> None:
    (tmp_path / "flame").mkdir()
    assert run(tmp_path, "-c", "import flotta_p2p").returncode == 0


def test_the_same_installation_reached_by_a_link_is_accepted(tmp_path: Path) -> None:
    for name in ("protocol", "actors", "flame"):
        (tmp_path / name).symlink_to(ROOT / name)
    assert run(tmp_path, "-c", "import flotta_p2p").returncode == 0


def test_a_cold_import_imports_no_sister_and_no_library(tmp_path: Path) -> None:
    """That keeps it quick; how quick is measured by `python -m tools bench`."""
    code = "import sys; import flotta_p2p; print({name.partition('.')[0] for name in sys.modules})"
    imported = run(tmp_path, "-c", code).stdout
    assert "flotta_p2p" in imported
    assert not any(name in imported for name in ("protocol", "actors", "flame", "msgspec", "zmq", "click", "polars"))
