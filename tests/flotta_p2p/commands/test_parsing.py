"""What is typed wrongly is refused in one sentence with the next step and the right exit code."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from flotta_p2p.commands import questions
from flotta_p2p.commands.options import duration, words
from flotta_p2p.configuration.read import read_configuration
from protocol.errors import WorkflowError
from protocol.plan.operations import Bins, GroupParameters, SummaryParameters
from tests.flotta_p2p.commands.lines import run

CONTEXT = click.Context(click.Command("x"))
OPTION = click.Option(["--x"])
SUBMIT = ("submit", "--project", "heart")


def given(**typed: object) -> questions.Given:
    values: dict[str, object] = dict.fromkeys(questions.Given.__dataclass_fields__)
    return questions.Given(**{**values, "columns": (), "by": (), "bins": (), "holders": (), **typed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("500ms", 500), ("15s", 15_000), ("10m", 600_000), ("2h", 7_200_000), ("1d", 86_400_000), ("1.5s", 1500)],
)
def test_durations_are_numbers_with_a_unit(text: str, milliseconds: int) -> None:
    assert duration(CONTEXT, OPTION, text) == milliseconds


@pytest.mark.parametrize("text", ["", "15", "s", "-1s", "1 s", "1e3s", "٣s", "9" * 40 + "s", "nan s"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no duration"):
        duration(CONTEXT, OPTION, text)


def test_words_are_split_at_commas_that_are_not_escaped() -> None:
    assert words(CONTEXT, OPTION, "age, bmi") == ("age", "bmi")
    assert words(CONTEXT, OPTION, r"weight\, kg,age") == ("weight, kg", "age")
    with pytest.raises(click.BadParameter, match="names nothing between two commas"):
        words(CONTEXT, OPTION, "age,,bmi")


@pytest.mark.parametrize(
    ("line", "code", "sentence"),
    [
        (("stauts",), 2, "No such command 'stauts'"),
        (("status", "--jsn"), 2, "No such option '--jsn'"),
        ((*SUBMIT,), 2, "name the columns with --columns"),
        ((*SUBMIT, "--columns", "age", "--lease", "soon"), 2, "'soon' is no duration"),
        ((*SUBMIT, "--columns", "age", "--lease", "0s"), 2, "'0s' is not between 1s and 1h"),
        ((*SUBMIT, "--columns", "age", "--deadline", "8d"), 2, "'8d' is not between 1s and 7d"),
        ((*SUBMIT, "--columns", "age", "--life", "0s"), 2, "'0s' is not between 1ms and 7d"),
        ((*SUBMIT, "--columns", "age", "--bins", "age:5:4:3"), 8, "the lower first"),
        ((*SUBMIT, "--columns", "age", "--holders", "DREAM"), 2, "an id has 56 characters"),
        ((*SUBMIT, "--columns", "age", "--holders-min", "0"), 2, "--holders-min"),
        ((*SUBMIT, "--columns", "age", "--where", "age >"), 8, "does not read"),
        ((*SUBMIT, "--columns", "age", "--bins", "age:0:1"), 8, "the bins"),
        ((*SUBMIT, "--columns", "age", "--statistics", "mode"), 8, 'no statistic "mode"'),
        ((*SUBMIT, "--columns", "age", "--by", "sex", "--bins", "age:0:9:3"), 8, "histogram cannot be asked for by"),
        ((*SUBMIT, "--by", "sex,sex"), 8, "each once"),
        ((*SUBMIT, "--by", "a,b,c,d,e"), 8, "at most 4 columns group"),
        ((*SUBMIT, "--by", "sex,,age"), 2, "names nothing between two commas"),
        (("submit", "missing.yaml"), 2, "the question file missing.yaml cannot be read"),
        (("submit", "--columns", "age", "--project", "heart"), 4, "no node runs for the work directory"),
        (("peers", "--workdir", "x", "list"), 2, "write the options behind the word list"),
        (("peers", "invite", "--valid", "31d"), 2, "'31d' is not between 1m and 30d"),
        (("peers", "invite"), 4, "no node runs for the work directory"),
        (("peers", "ban", "MFZWI3D"), 8, "an id has 56 characters"),
        (("peers", "accept", "x" * 56), 8, "mistake in group"),
        (("join", "fp2p-invite:abc"), 3, "this is no invitation"),
        (("join", "fp2p-invit"), 3, "this is no invitation"),
        (("join", "lab:0"), 8, "has no port"),
        (("join", "lab", "--as", "heart"), 2, "not of an address"),
        (("join", "fp2p-invite:abc", "--forget"), 2, "name the address to forget"),
        (("project", "rotate", "heart"), 3, 'holds no project "heart"'),
        (("send", "missing.flp"), 2, "the order file missing.flp cannot be read"),
        (("key", "show"), 3, "you have no key yet"),
        (("key", "new", "--name", "../x"), 2, "is no name"),
        (("status",), 4, "no node runs for the work directory"),
        (("project", "new", "a/b"), 3, "is no name of a project"),
        (("up", "-c", "missing.yaml"), 3, "missing.yaml cannot be read"),
        (("job", "wait", "jabcdef", "--limit", "x"), 2, "is no duration"),
        (("job", "remove"), 2, "name jobs by their ids, or say --ended-before TIME"),
        (("job", "remove", "jabcdef", "--ended-before", "1d"), 2, "or say --ended-before TIME, not both"),
        (("job", "remove", "--ended-before", "0s"), 2, "say how long ago, for example 1h"),
        (("job", "remove", "--ended-before", "0.1ms"), 2, "say how long ago, for example 1h"),
        (("job", "remove", "--ended-before", "30"), 2, "is no duration"),
        (("job", "remove", "jabcdef"), 4, "no node runs for the work directory"),
    ],
)
def test_errors_are_one_sentence_with_exit_code_and_next_step(
    line: tuple[str, ...], code: int, sentence: str, tmp_path: Path
) -> None:
    assert sentence in run(tmp_path, *line).refused(code)
    as_json = run(tmp_path, *line, "--json")
    assert as_json.code == code
    assert set(as_json.values["error"]) == {"code", "sentence", "node", "job", "next_step"}


def test_a_key_is_made_once_shown_without_its_secret_and_never_overwritten(tmp_path: Path) -> None:
    made = run(tmp_path, "key", "new", "--json").values
    secret = Path(made["file"]).read_text().splitlines()[1]
    shown = run(tmp_path, "key", "show")
    assert made["person"] in shown.out
    assert made["fingerprint"] in shown.out
    assert secret not in shown.out
    assert "never overwritten" in run(tmp_path, "key", "new").refused(3)


@pytest.mark.parametrize("content", ["", "no key\n", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_file_that_holds_no_key_is_named(content: str, tmp_path: Path) -> None:
    file = tmp_path / "my.key"
    file.write_text(content)
    file.chmod(0o600)
    assert str(file) in run(tmp_path, "key", "show", "--key", str(file)).refused(3)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "my.key"
    run(tmp_path, "key", "new", "--key", str(file))
    file.chmod(0o644)
    assert "chmod 600" in run(tmp_path, "key", "show", "--key", str(file)).refused(3)


def test_a_project_is_made_listed_and_added_elsewhere_by_its_token(tmp_path: Path) -> None:
    one, other = ("--workdir", str(tmp_path / "one")), ("--workdir", str(tmp_path / "other"))
    made = run(tmp_path, "project", "new", "heart", *one, "--json").values
    assert made["token"] not in run(tmp_path, "project", "list", *one).out
    added = run(tmp_path, "project", "add", "heart", *other, typed=made["token"] + "\n")
    assert added.code == 0
    assert made["token"] not in added.out
    listed = run(tmp_path, "project", "list", *other, "--json").values["projects"]
    assert listed == [{"name": "heart", "id": made["id"], "in_node": None}]
    assert "known with another token" in run(tmp_path, "project", "new", "heart", *one).refused(3)


def test_a_token_may_come_from_a_file_and_a_wrong_one_is_refused_without_showing_it(tmp_path: Path) -> None:
    made = run(tmp_path, "project", "new", "heart", "--workdir", str(tmp_path / "one"), "--json").values
    file = tmp_path / "heart.token"
    file.write_text(made["token"] + "\n")
    add = ("project", "add", "heart", "--workdir", str(tmp_path / "other"), "--token-file", str(file))
    assert run(tmp_path, *add).code == 0
    mistyped = made["token"][:-1] + ("a" if made["token"][-1] != "a" else "b")
    refused = run(tmp_path, "project", "add", "x", "--workdir", str(tmp_path / "third"), typed=mistyped).refused(3)
    assert mistyped not in refused


def test_all_faults_of_a_configuration_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("node:\n  port: many\n  nme: x\n")
    ran = run(tmp_path, "up", "-c", str(file))
    assert ran.code == 3
    assert "line 2" in ran.err
    assert "line 3" in ran.err
    assert "Traceback" not in ran.err


def test_signing_without_a_token_says_how_to_give_it(tmp_path: Path) -> None:
    run(tmp_path, "key", "new")
    line = ("sign", "--project", "heart", "--columns", "age", "-o", str(tmp_path / "order.flp"))
    assert "FLOTTA_TOKEN" in run(tmp_path, *line).refused(3)
    assert not (tmp_path / "order.flp").exists()


def test_an_order_file_is_written_once_and_holds_neither_key_nor_token(tmp_path: Path) -> None:
    key = run(tmp_path, "key", "new", "--json").values
    token = run(tmp_path, "project", "new", "heart", "--workdir", str(tmp_path / "work"), "--json").values["token"]
    line = ("sign", "--columns", "age", "-o", str(tmp_path / "order.flp"))
    assert run(tmp_path, *line, environment={"FLOTTA_TOKEN": token}).code == 0
    data = (tmp_path / "order.flp").read_bytes()
    assert token.encode() not in data
    assert Path(key["file"]).read_bytes()[40:60] not in data
    assert "never overwritten" in run(tmp_path, *line, environment={"FLOTTA_TOKEN": token}).refused(2)


def test_a_file_that_is_no_order_is_refused(tmp_path: Path) -> None:
    (tmp_path / "order.flp").write_bytes(b"\xc1nothing")
    assert "this is no order file" in run(tmp_path, "send", str(tmp_path / "order.flp")).refused(8)


def test_a_project_id_with_the_token_of_another_project_is_refused(tmp_path: Path) -> None:
    run(tmp_path, "key", "new")
    token = run(tmp_path, "project", "new", "heart", "--workdir", str(tmp_path / "work"), "--json").values["token"]
    line = ("sign", "--project", "p" + "0" * 32, "--columns", "age", "-o", str(tmp_path / "order.flp"))
    assert "the token is that of the project" in run(tmp_path, *line, environment={"FLOTTA_TOKEN": token}).refused(5)


def test_options_override_the_submission_file(tmp_path: Path) -> None:
    file = tmp_path / "question.yaml"
    file.write_text(
        "project: heart\ncolumns: [age]\nwhere: age > 1\nstatistics: [mean, histogram]\n"
        "bins: {age: {low: 0, high: 10, count: 5}}\noptions: {holders_min: 3, lease_ms: 2000}\n"
    )
    plain = questions.make_question(given(file=file))
    assert (plain.project, plain.query.columns, plain.options.holders_min, plain.options.lease_ms) == (
        "heart",
        ("age",),
        3,
        2000,
    )
    bins = {"age": Bins(low=0, high=10, count=5)}
    assert plain.parameters == SummaryParameters(statistics=("mean", "histogram"), bins=bins)
    other = questions.make_question(
        given(file=file, project="lung", columns=("bmi",), statistics="count", lease=9000, holders_min=1)
    )
    assert (other.project, other.query.columns, other.options.lease_ms) == ("lung", ("bmi",), 9000)
    assert other.parameters == SummaryParameters(statistics=("count",))
    assert other.query.where == plain.query.where
    assert other.options.holders_min == 1


def test_bins_alone_ask_for_the_histogram() -> None:
    question = questions.make_question(given(columns=("age",), bins=("age:0:10:5",)))
    assert question.parameters.statistics == ("count", "mean", "variance", "histogram")


def test_options_of_groups_stand_beside_those_of_the_file_or_alone(tmp_path: Path) -> None:
    file = tmp_path / "question.yaml"
    file.write_text("project: heart\ncolumns: [age]\nby: [sex]\nstatistics: [mean]\n")
    asked = [questions.make_question(one) for one in (given(file=file), given(file=file, by=("site", "sex")))]
    assert [one.parameters for one in asked] == [
        GroupParameters(by=by, statistics=("mean",)) for by in (("sex",), ("site", "sex"))
    ]
    assert asked[0].query.columns == ("age",)
    alone = questions.make_question(given(by=("sex",)))
    assert (alone.query.columns, alone.parameters) == ((), GroupParameters(by=("sex",), statistics=("count",)))
    usual = questions.make_question(given(by=("sex",), columns=("age",)))
    assert usual.parameters.statistics == ("count", "mean", "variance")


def test_a_histogram_without_bins_is_refused() -> None:
    with pytest.raises(WorkflowError, match="needs its bins"):
        questions.make_question(given(columns=("age",), statistics="histogram"))


def test_an_order_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    token = run(tmp_path, "project", "new", "heart", "--workdir", str(tmp_path / "work"), "--json").values["token"]
    run(tmp_path, "key", "new")
    file = tmp_path / "order.flp"
    assert run(tmp_path, "sign", "--columns", "age", "-o", str(file), environment={"FLOTTA_TOKEN": token}).code == 0
    file.write_bytes(file.read_bytes()[:-1])
    assert "not the whole of one" in run(tmp_path, "send", str(file)).refused(8)


def test_a_project_may_be_named_in_the_configuration_before_it_is_made(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(
        "workdir: ./work\ndatasources:\n  - {name: a, type: csv, path: a.csv, token: [heart]}\n", encoding="utf-8"
    )
    assert "flotta-p2p project new" in run(tmp_path, "up", "-c", str(file)).err
    made = run(tmp_path, "project", "new", "heart", "-c", str(file), "--json").values
    assert made["workdir"] == str(tmp_path / "work")
    (source,) = read_configuration(file, {}).datasources
    assert [token.reveal() for token in source.token] == [made["token"]]


def test_a_value_of_the_wrong_kind_in_a_question_file_is_told_in_words(tmp_path: Path) -> None:
    file = tmp_path / "question.yaml"
    file.write_text("project: heart\ncolumns: age\nstatistics: [count]\n", encoding="utf-8")
    assert "columns: expected a list, got text" in run(tmp_path, "submit", str(file)).refused(8)


def test_an_address_is_kept_and_forgotten_without_a_node(tmp_path: Path) -> None:
    kept = run(tmp_path, "join", "lab.example.org", "--json").values
    assert (kept["address"], kept["node_told"]) == ("lab.example.org:1456", False)
    assert run(tmp_path, "join", "--forget", "lab.example.org", "--json").values["forgotten"] is True
    assert run(tmp_path, "join", "--forget", "lab.example.org", "--json").values["forgotten"] is False


def test_an_invitation_from_a_pipe_is_never_shown(tmp_path: Path) -> None:
    refused = run(tmp_path, "join", typed="fp2p-invite:AAAAsecretsecretsecretAAAA\n").refused(3)
    assert "secretsecret" not in refused and "[invitation-malformed]" in refused


def test_leaving_and_coming_back_are_noted_without_a_node(tmp_path: Path) -> None:
    for command, left in (("leave", True), ("rejoin", False)):
        values = run(tmp_path, command, "--json").values
        assert (values["left"], values["changed"], values["node_told"]) == (left, True, False)
        assert run(tmp_path, command, "--json").values["changed"] is False


def test_a_token_is_rotated_shown_once_and_taken_over_elsewhere(tmp_path: Path) -> None:
    made = run(tmp_path, "project", "new", "heart", "--json").values
    rotated = run(tmp_path, "project", "rotate", "heart", "--json").values
    assert rotated["id"] != made["id"] and rotated["token"] != made["token"]
    other = tmp_path / "other"
    run(other, "project", "add", "heart", typed=made["token"])
    received = run(other, "project", "rotate", "heart", "--received", "--json", typed=rotated["token"]).values
    assert received["id"] == rotated["id"] and "token" not in received
    again = run(other, "project", "rotate", "heart", "--received", typed=rotated["token"]).refused(3)
    assert "has this token already" in again and rotated["token"] not in again


@pytest.mark.parametrize(
    "lines",
    [
        "node:\n  token_projects_initial:\n    - {name: heart, token: TOKEN}\n",
        "datasources:\n  - {name: a, type: csv, path: p, token: [TOKEN]}\n",
    ],
)
def test_a_token_that_stands_in_the_configuration_file_is_not_rotated_by_a_command(tmp_path: Path, lines: str) -> None:
    config = tmp_path / "site.yaml"
    config.write_text("workdir: ./work\n")
    token = run(tmp_path, "project", "new", "heart", "-c", str(config), "--json").values["token"]
    config.write_text("workdir: ./work\n" + lines.replace("TOKEN", token))
    refused = run(tmp_path, "project", "rotate", "heart", "-c", str(config)).refused(3)
    assert "stands in the configuration file itself" in refused and token not in refused
    assert (tmp_path / "work/projects/heart.token").read_text().strip() == token
