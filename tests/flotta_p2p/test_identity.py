"""What a node is before it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from flotta_p2p.configuration.read import read_configuration
from flotta_p2p.identity import Projects, load_identity, read_identity
from protocol.errors import Code, ConfigError
from protocol.limits import NAME_CHARS_MAX, OFFERS_MAX, TXT_STATEMENT_BYTES_MAX
from protocol.tokens import TOKEN_ENTROPY_BYTES, new_token
from protocol.wire.peers import Greeting, SourceOffer
from protocol.wire.registry import encode_message


def test_a_greeting_with_as_many_offers_as_possible_fits_into_its_frame() -> None:
    offers = tuple(
        SourceOffer(name=f"{number:0{NAME_CHARS_MAX}}", project=number.to_bytes(16)) for number in range(OFFERS_MAX)
    )
    greeting = Greeting(
        statement=bytes(TXT_STATEMENT_BYTES_MAX),
        name="n" * NAME_CHARS_MAX,
        projects=tuple(number.to_bytes(16) for number in range(64)),
        sources=offers,
        answer_wanted=True,
    )
    assert encode_message(greeting)


def test_more_offers_than_a_greeting_can_tell_are_refused_at_the_start(tmp_path: Path) -> None:
    tokens = ", ".join(new_token(number.to_bytes(TOKEN_ENTROPY_BYTES)) for number in range(1, 21))
    sources = "".join(
        f"  - {{name: s{number}, type: csv, path: t.csv, token: [{tokens}]}}\n"
        for number in range(OFFERS_MAX // 20 + 1)
    )
    file = tmp_path / "node.yaml"
    file.write_text(f"workdir: ./work\ndatasources:\n{sources}")
    with pytest.raises(ConfigError, match="tokens together"):
        Projects(read_configuration(file, {})).policy()


def test_keys_are_made_in_the_named_folder_and_what_killed_writers_left_there_is_removed(tmp_path: Path) -> None:
    file = tmp_path / "node.yaml"
    file.write_text("workdir: ./work\nsettings: {keys: ./safe}\n")
    keys = read_configuration(file, {}).keys
    keys.mkdir(mode=0o700)
    (keys / ".node.key.x.new").touch(mode=0o600)
    made = load_identity(keys)
    assert sorted(path.name for path in (tmp_path / "safe").iterdir()) == ["node.key", "transport.key"]
    assert read_identity(keys).node == load_identity(keys).node == made.node
    assert not (tmp_path / "work").exists()


def test_a_folder_of_keys_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "keys" / ".node.key.x.new").mkdir(parents=True, mode=0o700)
    with pytest.raises(ConfigError, match=r"the folder .* of the node's keys cannot be used") as caught:
        load_identity(tmp_path / "keys")
    assert caught.value.code == Code.FOLDER_UNUSABLE
