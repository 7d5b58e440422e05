"""What a person is told when the proxy between them and a door does not do what it should."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from flotta_p2p.demo.fleet import free_ports
from protocol.errors import Code
from protocol.invitation import Invitation, format_invitation
from protocol.limits import WALL_MS_MAX
from protocol.tokens import new_token
from tests.flotta_p2p.commands.lines import Ran, run
from tests.flotta_p2p.doctor.test_way_out import node
from tests.protocol.builders import node_key
from tests.proxies import LOOPBACK, proxy
from tests.servers import strange_server


def jobs_by(folder: Path, url: str, address: str = "192.0.2.1:1456") -> Ran:
    """The jobs behind a door, as a person with a key and a token asks for them."""
    assert run(folder, "key", "new").code in (0, 3)
    (folder / "token").write_text(new_token(b"commands by a proxy:") + "\n")
    return run(folder, "jobs", "--to", address, "--token-file", str(folder / "token"), "--proxy", url)


@pytest.mark.parametrize("kind", ["socks5", "http"])
def test_each_fault_of_a_proxy_has_its_name_and_exit_code(tmp_path: Path, kind: str) -> None:
    gone = jobs_by(tmp_path, f"{kind}://{LOOPBACK}:{free_ports(1)[0]}")
    assert gone.refused(4).endswith(f"[{Code.PROXY_UNREACHABLE}]")
    with strange_server("garbage") as port:
        assert jobs_by(tmp_path, f"{kind}://{LOOPBACK}:{port}").refused(4).endswith(f"[{Code.PROXY_MALFORMED}]")
    with proxy(kind, login=("ada", "secret")) as real:
        shut = jobs_by(tmp_path, f"{kind}://{LOOPBACK}:{real.port}")
        assert shut.refused(5).endswith(f"[{Code.PROXY_PASSWORD_WRONG}]")


def test_a_proxy_that_permits_only_the_statement_port_is_told_at_once(tmp_path: Path) -> None:
    with node() as port, proxy("http", deny=lambda host, asked: 403 if asked == port else None) as real:
        began = time.monotonic()
        refused = jobs_by(tmp_path, real.url, f"{LOOPBACK}:{port}").refused(5)
        assert time.monotonic() - began < 5
    assert refused.endswith(f"[{Code.PROXY_REFUSED}]")
    assert f"permit TCP to {LOOPBACK}:{port}" in refused


def test_an_invitation_is_used_by_the_proxy_of_the_configuration(tmp_path: Path) -> None:
    line = format_invitation(
        Invitation(
            secret=b"s" * 20,
            node_key=node_key(1).public_key,
            curve_key=b"c" * 32,
            addresses=("192.0.2.1:1456", "192.0.2.2:1456"),
            project="heart",
            expires_ms=WALL_MS_MAX,
        )
    )
    asked: list[str] = []

    def refuse(host: str, port: int) -> int:
        asked.append(host)
        return 403

    with proxy("http", deny=refuse) as real:
        (tmp_path / "site.yaml").write_text(f"workdir: work\nsettings:\n  proxy: {real.url}\n")
        refused = run(tmp_path, "join", "-c", str(tmp_path / "site.yaml"), "-", typed=line).refused(5)
    assert refused.endswith(f"[{Code.PROXY_REFUSED}]")
    assert list(dict.fromkeys(asked)) == ["192.0.2.1", "192.0.2.2"]
