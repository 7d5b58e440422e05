import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import signing
from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.limits import STATEMENT_BYTES_MAX
from protocol.signing import ORDER_STATEMENT, PLAN_STATEMENT, Envelope, SigningKey
from protocol.wire.codec import encode

KEY = SigningKey(bytes(range(32)))

FIELD = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
CURVE_D = -121665 * pow(121666, -1, FIELD) % FIELD
Point = tuple[int, int]


def _add(left: Point, right: Point) -> Point:
    (x1, y1), (x2, y2) = left, right
    product = CURVE_D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, FIELD)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, FIELD)
    return x % FIELD, y % FIELD


def _times(factor: int, point: Point) -> Point:
    total = (0, 1)
    while factor:
        if factor & 1:
            total = _add(total, point)
        point, factor = _add(point, point), factor >> 1
    return total


def _point(y: int) -> Point | None:
    square = (y * y - 1) * pow(CURVE_D * y * y + 1, -1, FIELD) % FIELD
    x = pow(square, (FIELD + 3) // 8, FIELD)
    if x * x % FIELD != square:
        x = x * pow(2, (FIELD - 1) // 4, FIELD) % FIELD
    return (x, y) if x * x % FIELD == square else None


def _small_order_points() -> set[Point]:
    """The eight points that ORDER times any point of the curve can be."""
    found: set[Point] = set()
    y = 2
    while len(found) < 8:
        point = _point(y)
        if point is not None:
            found.add(_times(ORDER, point))
        y += 1
    return found


def _encodings(y: int) -> list[bytes]:
    return [(y | sign << 255).to_bytes(32, "little") for sign in (0, 1)]


def test_every_key_of_small_order_is_weak_in_all_its_spellings() -> None:
    points = _small_order_points()
    assert all(_times(8, point) == (0, 1) for point in points)
    spellings = {spelling for _, y in points for spelling in _encodings(y)}
    spellings |= {spelling for _, y in points if y + FIELD < 2**255 for spelling in _encodings(y + FIELD)}
    assert len(spellings) >= 12
    for spelling in spellings:
        with pytest.raises(RemoteProtocolError) as caught:
            signing.check_public_key(spelling)
        assert caught.value.code == Code.KEY_WEAK


@pytest.mark.parametrize("y", range(FIELD, 2**255))
def test_every_uncanonical_key_is_weak(y: int) -> None:
    for spelling in _encodings(y):
        with pytest.raises(RemoteProtocolError):
            signing.check_public_key(spelling)


def test_the_signature_that_fits_everything_verifies_nothing() -> None:
    identity = (1).to_bytes(32, "little")
    assert not signing.verify(identity, identity + bytes(32), b"any message")


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_length_is_weak(size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        signing.check_public_key(bytes([7]) * size)
    assert not signing.verify(bytes([7]) * size, bytes(64), b"")


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=20))
def test_verify_answers_whatever_it_is_given(key: bytes, signature: bytes, message: bytes) -> None:
    assert not signing.verify(key, signature, message)


@given(st.binary(max_size=100))
def test_a_good_signature_verifies_and_its_second_form_does_not(message: bytes) -> None:
    signature = KEY.sign(message)
    signing.check_public_key(KEY.public_key)
    assert signing.verify(KEY.public_key, signature, message)
    assert not signing.verify(KEY.public_key, signature, message + b"x")
    second = int.from_bytes(signature[32:], "little") + ORDER
    assert not signing.verify(KEY.public_key, signature[:32] + second.to_bytes(32, "little"), message)


def test_a_signing_key_does_not_show_its_seed() -> None:
    assert bytes(range(32)).hex() not in repr(KEY)
    assert not hasattr(KEY, "__dict__")
    with pytest.raises(LocalProtocolError) as caught:
        SigningKey(b"secret")
    assert "secret" not in str(caught.value)


@given(st.binary(max_size=200))
def test_a_statement_opens_as_what_was_signed(payload: bytes) -> None:
    data = signing.envelope_bytes(signing.sign_statement(ORDER_STATEMENT, payload, KEY))
    statement = signing.open_statement(data, ORDER_STATEMENT)
    assert (statement.payload, statement.signer) == (payload, KEY.public_key)


def _envelope(**change: object) -> bytes:
    good = signing.sign_statement(ORDER_STATEMENT, b"payload", KEY)
    fields = {name: getattr(good, name) for name in Envelope.__struct_fields__}
    return encode(fields | change)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (_envelope(payload=b"other"), Code.SIGNATURE_WRONG),
        (_envelope(signature=bytes(64)), Code.SIGNATURE_WRONG),
        (_envelope(signature=b""), Code.SIGNATURE_WRONG),
        (_envelope(signer=SigningKey(bytes(32)).public_key), Code.SIGNATURE_WRONG),
        (_envelope(signer=b"short"), Code.KEY_WEAK),
        (_envelope(signer=bytes(32)), Code.KEY_WEAK),
        (_envelope(payload_type=PLAN_STATEMENT), Code.STATEMENT_MALFORMED),
        (_envelope(payload="text"), Code.STATEMENT_MALFORMED),
        (_envelope(more=1), Code.STATEMENT_MALFORMED),
        (b"", Code.STATEMENT_MALFORMED),
        (_envelope() + b"\0", Code.STATEMENT_MALFORMED),
        (_envelope(payload=bytes(STATEMENT_BYTES_MAX)), Code.STATEMENT_MALFORMED),
    ],
)
def test_an_altered_statement_is_refused(data: bytes, code: Code) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        signing.open_statement(data, ORDER_STATEMENT)
    assert caught.value.code == code


def test_a_statement_of_one_type_is_none_of_another() -> None:
    data = signing.envelope_bytes(signing.sign_statement(PLAN_STATEMENT, b"payload", KEY))
    with pytest.raises(RemoteProtocolError):
        signing.open_statement(data, ORDER_STATEMENT)


def test_a_statement_that_nobody_would_read_is_not_made() -> None:
    envelope = signing.sign_statement(ORDER_STATEMENT, bytes(STATEMENT_BYTES_MAX), KEY)
    with pytest.raises(LocalProtocolError):
        signing.envelope_bytes(envelope)
