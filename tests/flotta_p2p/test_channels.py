"""What a person is told at a door that stays shut."""

from __future__ import annotations

from flotta_p2p.channels import not_let_in
from protocol.errors import Code, DeniedError, UnreachableError
from protocol.ids import format_project_id
from tests.protocol.builders import OTHER_PROJECT, PROJECT, node_key, statement

ADDRESS = "lab:1456"
TARGET = statement(node_key(7), projects=(PROJECT,))


def test_who_holds_another_token_hears_that_the_node_does_not_know_its_project() -> None:
    error = not_let_in(ADDRESS, TARGET, OTHER_PROJECT)
    assert isinstance(error, DeniedError) and error.code == Code.PROJECT_UNKNOWN
    assert format_project_id(OTHER_PROJECT.project_id) in error.sentence and "has left" in error.sentence
    assert "project list" in error.next_step


def test_who_holds_the_token_of_a_door_that_does_not_open_is_sent_to_look_at_the_way() -> None:
    error = not_let_in(ADDRESS, TARGET, PROJECT)
    assert isinstance(error, UnreachableError) and error.code == Code.NODE_UNREACHABLE
    assert error.next_step == f"flotta-p2p doctor --to {ADDRESS}"
