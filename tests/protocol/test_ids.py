import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import ids
from protocol.errors import AddressError, Code, LocalProtocolError

PUBLISHED = "P56IOI7-MZJNU2Y-IQGDREY-DM2MGTI-MGL3BXN-PQ6W5BM-TBBZ4TJ-XZWICQ2"


@given(st.binary(min_size=32, max_size=32))
def test_every_node_id_reads_back(node: bytes) -> None:
    assert ids.parse_id(ids.format_id(node)) == node


@given(st.binary(min_size=32, max_size=32))
def test_every_job_id_reads_back(job: bytes) -> None:
    text = ids.format_job_id(job)
    assert len(text) == 53
    assert ids.parse_job_id(text) == ids.parse_job_id(text.upper()) == job
    assert text.startswith(ids.short_job_id(job)) and len(ids.short_job_id(job)) == 9


@given(st.binary(min_size=16, max_size=16))
def test_every_project_id_reads_back(project: bytes) -> None:
    assert ids.parse_project_id(ids.format_project_id(project)) == project


@pytest.mark.parametrize(
    "text",
    [
        PUBLISHED.lower(),
        PUBLISHED.replace("-", ""),
        PUBLISHED.replace("-", " "),
        f"  {PUBLISHED}\n",
        PUBLISHED.replace("O", "0").replace("I", "1").replace("B", "8"),
    ],
)
def test_case_spaces_hyphens_and_look_alikes_are_forgiven(text: str) -> None:
    assert ids.format_id(ids.parse_id(text)) == PUBLISHED


@given(st.binary(min_size=32, max_size=32), st.integers(0, 55), st.integers(1, 31))
def test_every_single_wrong_character_is_found(node: bytes, place: int, shift: int) -> None:
    characters = list(ids.format_id(node).replace("-", ""))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    characters[place] = alphabet[(alphabet.index(characters[place]) + shift) % 32]
    with pytest.raises(AddressError) as caught:
        ids.parse_id("".join(characters))
    assert caught.value.code == Code.ID_MALFORMED


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "56 characters"),
        (PUBLISHED[:-1], "this one has 55"),
        (PUBLISHED + "A", "this one has 57"),
        (PUBLISHED.replace("P56", "P9_"), "'9'"),
        (PUBLISHED.replace("MZJNU2Y", "MZJNU2Z"), "group 1 or 2"),
        (PUBLISHED.replace("XZWICQ2", "XZWICQ3"), "group 7 or 8"),
    ],
)
def test_a_wrong_id_names_its_fault(text: str, fault: str) -> None:
    with pytest.raises(AddressError, match=fault):
        ids.parse_id(text)


def test_bits_beyond_the_id_are_refused_so_that_an_id_has_one_text() -> None:
    job = ids.format_job_id(bytes(32))
    with pytest.raises(AddressError):
        ids.parse_job_id(job[:-1] + "b")


@pytest.mark.parametrize("text", ["", "j41", "j" + "a" * 51, "k" + "a" * 52, "j" + "1" * 52])
def test_what_is_no_job_id_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        ids.parse_job_id(text)


@pytest.mark.parametrize("text", ["", "p", "0" * 32, "p" + "g" * 32, "p" + "0" * 33])
def test_what_is_no_project_id_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        ids.parse_project_id(text)


def test_bytes_of_another_length_are_our_own_mistake() -> None:
    for format_bytes in (ids.node_id, ids.format_id, ids.format_job_id, ids.format_project_id):
        with pytest.raises(LocalProtocolError):
            format_bytes(bytes(31))


def test_each_part_of_a_message_id_counts() -> None:
    a, b = bytes(32), bytes([1]) * 32
    made = {
        ids.message_id(a, b, 1, "delivery", 1),
        ids.message_id(b, a, 1, "delivery", 1),
        ids.message_id(a, b, 2, "delivery", 1),
        ids.message_id(a, b, 1, "scheduler", 1),
        ids.message_id(a, b, 1, "delivery", 2),
    }
    assert len(made) == 5 and all(len(one) == 16 for one in made)


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_different_fields_never_join_to_the_same_bytes(left: list[bytes], right: list[bytes]) -> None:
    assert (ids.length_safe(*left) == ids.length_safe(*right)) == (left == right)
