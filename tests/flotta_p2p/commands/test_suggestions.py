"""What a message tells to type works when it is copied."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from flotta_p2p.commands.main import cli
from flotta_p2p.commands.suggestions import completed, completed_line
from tests.flotta_p2p.commands.lines import run


def within(*words: str) -> click.Context:
    """The context of a command line, as it is while the command runs."""
    context = cli.make_context("flotta-p2p", list(words))
    while isinstance(context.command, click.Group) and context._protected_args:
        name, command, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
        assert name is not None and command is not None
        context = command.make_context(name, rest, parent=context)
    return context


@pytest.mark.parametrize(
    ("line", "text", "wanted"),
    [
        ("jobs", "flotta-p2p job wait j4k", "flotta-p2p job wait j4k"),
        ("jobs -c a.yaml", "flotta-p2p job wait j4k", "flotta-p2p job wait -c a.yaml j4k"),
        ("jobs -c a.yaml", "see `flotta-p2p peers`, and wait", "see `flotta-p2p peers -c a.yaml`, and wait"),
        ("jobs --workdir w", "start it with `flotta-p2p up`", "start it with `flotta-p2p up`"),  # it takes none
        (
            "jobs --workdir w",
            "flotta-p2p job wait j, or flotta-p2p job cancel j",
            "flotta-p2p job wait --workdir w j, or flotta-p2p job cancel --workdir w j",
        ),
        ("jobs --to lab --token-file t", "flotta-p2p jobs", "flotta-p2p jobs --to lab --token-file t"),
        ("jobs --to lab --token-file t", "flotta-p2p project list", "flotta-p2p project list"),
        ("jobs --to lab -c a.yaml", "flotta-p2p doctor --to lab:1", "flotta-p2p doctor -c a.yaml --to lab:1"),
        ("submit --project h --to lab", "flotta-p2p job wait j", "flotta-p2p job wait --to lab --project h j"),
        ("submit --project h", "flotta-p2p job wait j", "flotta-p2p job wait j"),
        ("submit --key k", "flotta-p2p job cancel j", "flotta-p2p job cancel --key k j"),  # it signs
        ("jobs --proxy socks5://lab:1 --to x", "flotta-p2p jobs", "flotta-p2p jobs --to x --proxy socks5://lab:1"),
        ("jobs -c a.yaml", "compare `flotta-p2p project list` on both sides", None),
        ("jobs -c a.yaml", "see its log (`flotta-p2p status` there)", None),
        ("jobs -c a.yaml", "compare the versions of flotta-p2p and restart", None),
    ],
)
def test_a_suggested_command_has_the_options_by_which_the_person_said_where(
    line: str, text: str, wanted: str | None
) -> None:
    with within(*line.split()).scope(cleanup=False):
        assert completed(text) == (wanted or text)


def test_a_file_with_a_gap_in_its_name_is_quoted() -> None:
    with within("jobs", "-c", "my site.yaml").scope(cleanup=False):
        assert completed("flotta-p2p jobs") == "flotta-p2p jobs -c 'my site.yaml'"


def test_a_password_of_a_proxy_is_never_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "geheim")
    with within("jobs", "--to", "lab", "--proxy", "http://me:${PASSWORD}@proxy:3128").scope(cleanup=False):
        assert completed("flotta-p2p jobs") == "flotta-p2p jobs --to lab"


def test_of_a_line_only_the_step_is_completed() -> None:
    with within("jobs", "-c", "a.yaml").scope(cleanup=False):
        assert completed_line("flotta-p2p jobs. Next: flotta-p2p submit") == (
            "flotta-p2p jobs. Next: flotta-p2p submit -c a.yaml"
        )


def test_errors_and_results_are_completed(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(f"workdir: {tmp_path / 'work'}\n")
    place = ("-c", str(tmp_path / "site.yaml"))
    assert f"`flotta-p2p data add {' '.join(place)}`" in run(tmp_path, "data", "show", "table", *place).refused(8)
    assert f"Next: flotta-p2p project new {' '.join(place)} NAME" in run(tmp_path, "project", "list", *place).out
