from __future__ import annotations

from pathlib import Path

import pytest

from actors.adapters.private_files import create_private_file
from actors.adapters.token_files import add_project, list_projects, replace_token
from protocol.errors import Code, ConfigError
from protocol.limits import PROJECTS_MAX
from protocol.secret_text import SecretText
from protocol.tokens import new_token


def token(number: int) -> SecretText:
    return SecretText(new_token(number.to_bytes(20, "big")))


def refusal(workdir: Path, name: str, secret: SecretText) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        add_project(workdir, name, secret)
    assert secret.reveal() not in str(caught.value)
    return caught.value


def test_projects_are_listed_by_name_with_their_tokens(tmp_path: Path) -> None:
    assert list_projects(tmp_path) == ()
    add_project(tmp_path, "north", token(1))
    add_project(tmp_path, "east.2", token(2))
    assert list_projects(tmp_path) == (("east.2", token(2)), ("north", token(1)))
    file = tmp_path / "projects" / "north.token"
    assert file.read_text() == token(1).reveal() + "\n" and file.stat().st_mode & 0o777 == 0o600


def test_the_same_project_again_changes_nothing(tmp_path: Path) -> None:
    add_project(tmp_path, "north", token(1))
    add_project(tmp_path, "north", token(1))
    assert list_projects(tmp_path) == (("north", token(1)),)


def test_a_name_in_use_with_another_token_is_refused(tmp_path: Path) -> None:
    add_project(tmp_path, "north", token(1))
    assert refusal(tmp_path, "north", token(2)).code == Code.PROJECT_NAME_TAKEN
    assert list_projects(tmp_path) == (("north", token(1)),)


def test_a_token_in_use_under_another_name_is_refused_naming_it(tmp_path: Path) -> None:
    add_project(tmp_path, "north", token(1))
    error = refusal(tmp_path, "south", token(1))
    assert (error.code, error.sentence) == (Code.PROJECT_NAME_TAKEN, 'the project with this token is known as "north"')


@pytest.mark.parametrize("name", ["", "../north", "a/b", ".north", "a b", "é", "a\n", "x" * 65])
def test_a_name_that_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    assert refusal(tmp_path, name, token(1)).code == Code.CONFIG_VALUE_WRONG
    assert not (tmp_path / "projects").exists()


def test_a_weak_token_is_refused_when_added(tmp_path: Path) -> None:
    assert refusal(tmp_path, "north", SecretText("hidden")).code == Code.TOKEN_WEAK


def test_one_project_too_many_is_refused(tmp_path: Path) -> None:
    for number in range(PROJECTS_MAX):
        create_private_file(tmp_path / "projects" / f"p{number}.token", f"{token(number).reveal()}\n".encode())
    assert refusal(tmp_path, "north", token(PROJECTS_MAX)).code == Code.CONFIG_VALUE_WRONG


@pytest.mark.parametrize(
    "data, code", [(b"\xff", Code.KEY_FILE_MALFORMED), (b"", Code.TOKEN_MALFORMED), (b"hidden\n", Code.TOKEN_WEAK)]
)
def test_a_damaged_token_file_is_named(tmp_path: Path, data: bytes, code: Code) -> None:
    file = tmp_path / "projects" / "north.token"
    create_private_file(file, data)
    with pytest.raises(ConfigError) as caught:
        list_projects(tmp_path)
    assert caught.value.code == code and str(file) in caught.value.sentence


def test_a_token_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    add_project(tmp_path, "north", token(1))
    (tmp_path / "projects" / "north.token").chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        list_projects(tmp_path)
    assert caught.value.code == Code.KEY_FILE_UNSAFE


def test_other_files_of_the_folder_are_left_alone(tmp_path: Path) -> None:
    add_project(tmp_path, "north", token(1))
    (tmp_path / "projects" / "notes.txt").write_text("mine")
    assert [name for name, _ in list_projects(tmp_path)] == ["north"]


def test_a_token_is_replaced_by_a_new_one_and_the_others_stay(tmp_path: Path) -> None:
    add_project(tmp_path, "north", token(1))
    add_project(tmp_path, "south", token(2))
    replace_token(tmp_path, "north", token(3))
    assert list_projects(tmp_path) == (("north", token(3)), ("south", token(2)))


@pytest.mark.parametrize(
    ("name", "secret", "code"),
    [
        ("east", token(3), Code.PROJECT_UNKNOWN),
        ("../x", token(3), Code.PROJECT_UNKNOWN),
        ("north", token(2), Code.PROJECT_NAME_TAKEN),
        ("north", SecretText("heart"), Code.TOKEN_WEAK),
    ],
)
def test_what_cannot_replace_a_token_changes_nothing(tmp_path: Path, name: str, secret: SecretText, code: Code) -> None:
    add_project(tmp_path, "north", token(1))
    add_project(tmp_path, "south", token(2))
    with pytest.raises(ConfigError) as caught:
        replace_token(tmp_path, name, secret)
    assert caught.value.code is code and secret.reveal() not in str(caught.value)
    assert list_projects(tmp_path) == (("north", token(1)), ("south", token(2)))
