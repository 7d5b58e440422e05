"""Which token a person's words lead to, and what they hear when the words contradict each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.adapters.folder_lock import prepare_workdir
from actors.adapters.token_files import add_project
from flotta_p2p.commands.options import Place
from flotta_p2p.commands.places import find_token, project_key
from protocol.errors import Code, DeniedError
from protocol.ids import format_project_id
from protocol.secret_text import SecretText
from protocol.tokens import ProjectKey, new_token
from tests.flotta_p2p.commands.lines import run

HEART, STROKE = new_token(b"heart".ljust(20)), new_token(b"stroke".ljust(20))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A node here that knows the project heart."""
    monkeypatch.delenv("FLOTTA_TOKEN", raising=False)
    workdir = tmp_path / "work"
    prepare_workdir(workdir)
    add_project(workdir, "heart", SecretText(HEART))
    return Place(workdir=workdir)


def with_token(place: Place, token: str) -> Place:
    assert place.workdir is not None
    file = place.workdir.parent / "token"
    file.write_text(token + "\n")
    return Place(workdir=place.workdir, token_file=file)


def test_a_known_project_is_found_by_its_name_and_by_its_id(place: Place) -> None:
    known = ProjectKey.derive(HEART).project_id
    for word in ("heart", format_project_id(known)):
        assert project_key(place, word).project_id == known


def test_an_unknown_project_is_refused_naming_those_that_are_known(place: Place) -> None:
    with pytest.raises(DeniedError, match='no project "hart" is known here; known are heart') as refused:
        find_token(place, "hart")
    assert refused.value.code == Code.PROJECT_UNKNOWN and "--token-file" in refused.value.next_step


def test_a_token_that_is_not_that_of_the_named_project_is_refused(place: Place) -> None:
    for token, name in ((STROKE, "heart"), (HEART, "hart")):
        with pytest.raises(DeniedError) as refused:
            find_token(with_token(place, token), name)
        assert refused.value.code == Code.PROOF_WRONG


def test_a_token_of_a_project_that_only_the_node_elsewhere_knows_by_that_name_is_taken(place: Place) -> None:
    assert find_token(with_token(place, STROKE), "stroke").reveal() == STROKE
    assert find_token(with_token(place, HEART), "heart").reveal() == HEART
    assert find_token(with_token(place, STROKE), None).reveal() == STROKE


@pytest.mark.parametrize("line", [("jobs",), ("job", "show", "j4k2mzq7a"), ("send", "order.flp")])
def test_commands_of_jobs_take_the_project_for_the_door_alone(tmp_path: Path, line: tuple[str, ...]) -> None:
    (tmp_path / "order.flp").write_bytes(b"")
    assert "--project goes with --to" in run(tmp_path, "jobs", "--project", "heart").refused(2)
    assert "--project" in run(tmp_path, *line, "--help").out
