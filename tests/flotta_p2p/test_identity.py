"""What a node is before it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from flotta_p2p.configuration.read import read_configuration
from flotta_p2p.identity import Projects
from protocol.errors import ConfigError
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
