"""Where a run comes from is kept with it."""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
import subprocess
from pathlib import Path

import pytest

from flame.graph import Graph
from flame.limits import GIT_DIFF_BYTES_MAX
from flame.run.provenance import copy_sources, hashes, provenance, source_files
from flame.run.run_record import to_json
from tests.flame.runs import graph, graph_node


def git(folder: Path, *words: str) -> str:
    identity = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    names = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(
        ("git", *names, *words), cwd=folder, env={**os.environ, **identity}, capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture
def a_graph(tmp_path: Path) -> Graph:
    (tmp_path / "off.py").write_text("off\n")
    (tmp_path / "beside.py").write_text("helper\n")
    (tmp_path / "data.csv").write_text("1\n")
    return graph(tmp_path, graph_node(tmp_path, "a", "pass", safe="off.py"))


def test_everything_that_may_run_is_kept_with_its_hash(tmp_path: Path, a_graph: Graph) -> None:
    files = source_files(a_graph)
    assert set(files) == {"workflow.py", "a.py", "off.py", "beside.py"}
    copy_sources(files, tmp_path / "kept")
    for source in hashes(files):
        data = (tmp_path / "kept" / source.name).read_bytes()
        assert source.sha256 == hashlib.sha256(data).hexdigest()


def test_programs_of_one_name_in_several_folders_are_all_kept(tmp_path: Path) -> None:
    inside, outside = tmp_path / "workflow", tmp_path / "elsewhere"
    inside.mkdir()
    outside.mkdir()
    files = source_files(graph(inside, graph_node(inside, "a", "1"), graph_node(outside, "a", "2")))
    assert set(files.values()) == {inside / "workflow.py", inside / "a.py", outside / "a.py"}
    assert {name for name in files if "/" not in name} == {"workflow.py", "a.py"}


def test_commit_and_what_differs_from_it_are_kept(tmp_path: Path, a_graph: Graph) -> None:
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    clean = provenance(a_graph, ())
    assert clean.commit == git(tmp_path, "rev-parse", "HEAD").strip() and clean.diff == ""
    (tmp_path / "a.py").write_text("another\n")
    dirty = provenance(a_graph, ())
    assert dirty.commit == clean.commit and "+another" in dirty.diff


def test_a_copy_is_as_closed_as_its_file_and_lies_below_the_sources(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    (tmp_path / "off.py").write_text("key = 'secret'")
    (tmp_path / "off.py").chmod(0o600)
    files = source_files(graph(folder, graph_node(folder, "a", "pass", safe="../off.py")))
    assert all(".." not in name for name in files)
    copy_sources(files, tmp_path / "kept")
    (copy,) = (tmp_path / "kept" / name for name in files if name.endswith("off.py"))
    assert copy.stat().st_mode & 0o777 == 0o600


def test_nothing_of_the_environment_is_kept(a_graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_TOKEN", "hunter2-and-more")
    assert b"hunter2" not in to_json(provenance(a_graph, ()))


def test_asking_git_runs_no_program_that_the_repository_names(tmp_path: Path, a_graph: Graph) -> None:
    git(tmp_path, "init")
    (tmp_path / ".gitattributes").write_text("*.py diff=evil\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    (tmp_path / "evil").write_text("#!/bin/sh\ntouch ran\ncat $1\n")
    (tmp_path / "evil").chmod(0o755)
    for key in ("core.fsmonitor", "diff.evil.textconv", "diff.evil.command", "diff.external"):
        git(tmp_path, "config", key, str(tmp_path / "evil"))
    (tmp_path / "a.py").write_text("another\n")
    assert "+another" in provenance(a_graph, ()).diff
    assert not (tmp_path / "ran").exists()


def test_a_large_difference_is_cut(tmp_path: Path, a_graph: Graph) -> None:
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    (tmp_path / "a.py").write_text("x = 'a long line of a program'\n" * 100_000)
    assert len(provenance(a_graph, ()).diff) == GIT_DIFF_BYTES_MAX


def test_without_a_repository_or_without_git_there_is_no_commit(
    a_graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert provenance(a_graph, ()).commit == ""
    monkeypatch.setenv("PATH", "/nowhere")
    assert (provenance(a_graph, ()).commit, provenance(a_graph, ()).diff) == ("", "")


def test_machine_user_and_versions_are_kept(a_graph: Graph) -> None:
    told = provenance(a_graph, ())
    assert (told.host, told.user) == (socket.gethostname(), getpass.getuser())
    assert {"python", "flotta-p2p", "pyzmq", "msgspec"} <= set(told.versions)
