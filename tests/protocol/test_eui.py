import string
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import AddressError
from protocol.eui import EUI, NAMED_ROOMS, PLAIN_ROOMS, RESERVED
from protocol.ids import format_id, format_job_id

JOB = format_job_id(bytes(range(32)))
HOLDER = format_id(bytes(32))

heads = st.sampled_from(string.ascii_letters + string.digits + "_")
names = (
    st.builds(lambda head, rest: head + rest, heads, st.text(string.ascii_letters + "09_.-", max_size=20))
    .filter(lambda name: ".." not in name and not name.endswith("."))
    .filter(lambda name: name not in RESERVED)
)
jobs = st.binary(min_size=32, max_size=32).map(format_job_id)
hosts = st.binary(min_size=32, max_size=32).map(lambda host: f"@host:{format_id(host)}")
firsts = st.one_of(st.just(""), st.just("@last"), st.just("@lab"), jobs, hosts)
euis = st.one_of(
    st.builds(EUI, first=firsts, node=names, name=names, room=st.sampled_from(sorted(NAMED_ROOMS))),
    st.builds(EUI, first=firsts, node=names, room=st.sampled_from(sorted(PLAIN_ROOMS))),
)
places = euis.filter(lambda eui: eui.first not in ("", "@last"))


@given(euis)
def test_every_address_reads_back(eui: EUI) -> None:
    assert EUI.parse(str(eui)) == eui


@given(st.text(alphabet="#/@:.-_aj4 \\\0äout", max_size=30))
def test_any_text_is_an_address_with_one_text_form_or_the_one_error(text: str) -> None:
    try:
        eui = EUI.parse(text)
    except AddressError:
        return
    assert EUI.parse(str(eui)) == eui


@given(places)
def test_no_path_leaves_its_root(eui: EUI) -> None:
    root = PurePosixPath("/root")
    path = root.joinpath(*eui.path())
    assert path.parts[:2] == root.parts and len(path.parts) == 2 + len(eui.path())
    assert not any(part.startswith((".", "-")) for part in eui.path())


@given(places, places)
def test_two_addresses_share_neither_path_nor_key(left: EUI, right: EUI) -> None:
    assert (left.path() == right.path()) == (left == right)
    assert (left.store_key() == right.store_key()) == (left == right)


@pytest.mark.parametrize("first", ["@last", "@lab", JOB, f"@host:{HOLDER}"])
def test_a_relative_address_becomes_absolute_and_an_absolute_one_stays(first: str) -> None:
    eui = EUI.parse("#scope/trace")
    assert str(eui.absolute(first)) == f"#/{first}/scope/trace"
    assert eui.absolute(first).absolute("@lab") == eui.absolute(first)


def test_the_short_form_means_an_output() -> None:
    assert EUI.parse("#scope/trace") == EUI.parse("#scope/out/trace") == EUI(node="scope", name="trace")


def test_a_holder_of_a_federated_job_is_a_node() -> None:
    assert EUI.parse(f"#/{JOB}/{HOLDER}/summary").node == HOLDER


def test_the_longest_address_fits_a_store_key() -> None:
    longest = EUI(first=f"@host:{HOLDER}", node="n" * 64, room="params", name="x" * 64)
    assert EUI.parse(str(longest)) == longest
    assert len(longest.store_key()) < 512


@pytest.mark.parametrize("text", ["#scope/trace", "#/@last/scope/trace"])
def test_an_address_without_a_job_has_no_place(text: str) -> None:
    with pytest.raises(AddressError, match="no place"):
        EUI.parse(text).path()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "begins with '#'"),
        ("scope/trace", "begins with '#'"),
        ("#", "does not name"),
        ("#scope", "does not name"),
        ("#/@lab/scope", "does not name"),
        ("#/@lab/scope/out/trace/more", "does not name"),
        ("#scope/", "missing"),
        ("#/@lab//trace", "node's name is missing"),
        ("#scope//trace", "no room ''"),
        ("#scope/other/trace", "no room 'other'"),
        ("#scope/log/trace", "nothing stands below"),
        ("#out/trace", "reserved"),
        ("#scope/in", "reserved"),
        ("#scope/out/log", "reserved"),
        ("#/j41/scope/trace", "cannot stand first"),
        ("#/../scope/trace", "cannot stand first"),
        ("#/@host:ABC/scope/trace", "56 characters"),
        ("#../trace", "cannot be a name"),
        ("#scope/params/..", "cannot be a name"),
        ("#scope/a..b", "cannot be a name"),
        ("#.hidden/trace", "cannot be a name"),
        ("#-rf/trace", "cannot be a name"),
        ("#scope/trace.", "cannot be a name"),
        ("#scope/tr\\ace", "cannot be a name"),
        ("#scope/tr ace", "cannot be a name"),
        ("#scope/trace\n", "cannot be a name"),
        ("#scope/tr\0ace", "cannot be a name"),
        ("#scope/tracé", "cannot be a name"),
        ("#scope/trace[-1]", "cannot be a name"),
        ("#scope/" + "x" * 65, "at most 64"),
        ("#scope/" + "x" * 300, "at most 256"),
    ],
)
def test_a_wrong_address_names_its_fault(text: str, fault: str) -> None:
    with pytest.raises(AddressError) as caught:
        EUI.parse(text)
    assert fault in str(caught.value)
    assert caught.value.next_step


@pytest.mark.parametrize(
    "parts",
    [
        {"node": ".."},
        {"node": "n", "name": "a/b"},
        {"node": "n", "name": "x", "first": JOB.upper()},
        {"node": "n"},
    ],
)
def test_an_invalid_address_cannot_be_made(parts: dict[str, str]) -> None:
    with pytest.raises(AddressError):
        EUI(**parts)
