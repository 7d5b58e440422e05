"""Values of all kinds that are kept, for property tests."""

from __future__ import annotations

import struct

from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

NAN_WITH_A_MESSAGE = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_0123))[0]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
)
dtypes = (
    np_st.boolean_dtypes()
    | np_st.integer_dtypes()
    | np_st.unsigned_integer_dtypes()
    | np_st.floating_dtypes(sizes=(16, 32, 64))
    | np_st.complex_number_dtypes(sizes=(64, 128))
    | np_st.datetime64_dtypes()
    | np_st.timedelta64_dtypes()
    | np_st.unicode_string_dtypes(max_len=5)
    | np_st.byte_string_dtypes(max_len=5)
)
arrays = np_st.arrays(dtypes, np_st.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
values = st.recursive(
    scalars | arrays, lambda inner: st.lists(inner) | st.dictionaries(scalars, inner) | st.tuples(inner, inner)
)
