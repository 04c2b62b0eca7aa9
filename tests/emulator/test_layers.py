"""The encoded store against a plain model of the same rules."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from uploader.emulator.layers import Source, attributes, with_row, with_update, with_visit
from uploader.emulator.text import decode_form, encode_form

NAMES = ("a", "b", "c")
VALUES = st.sampled_from(["", "1", "2", "!", "&=,\n"])
STEPS = st.one_of(
    st.just(("visit", ())),
    st.tuples(st.sampled_from(["single", "v1", "v2"]), st.tuples(VALUES, VALUES, VALUES)),
)


@given(st.lists(STEPS, max_size=12))
def test_any_history_gives_what_the_rules_give(steps: list[tuple[str, tuple[str, ...]]]) -> None:
    """Singles, v1 and v2 rows and visits in any order, folded or not."""
    sources: list[Source] = []
    profile = b""
    expected: dict[str, tuple[str, int | None]] = {}
    last_v2: int | None = None
    for kind, values in steps:
        filled = {name: value for name, value in zip(NAMES, values, strict=False) if value}
        if kind == "visit":
            profile = with_visit(profile)
            last_v2 = None
        elif not filled:
            continue
        elif kind == "single":
            pairs = b"&".join(b"%b=%b" % (n.encode(), encode_form(v)) for n, v in filled.items())
            profile = with_update(profile, pairs, 5, sources)
            expected |= {name: (value, None) for name, value in filled.items()}
            last_v2 = None
        else:
            sources.append(Source(NAMES, 7, overridable=kind == "v2"))
            number = len(sources) - 1
            row = b",".join(encode_form(value) for value in values)
            profile = with_row(profile, number, row, sources)
            if kind == "v2" and last_v2 is not None:
                expected = {n: item for n, item in expected.items() if item[1] != last_v2}
            expected |= {name: (value, number) for name, value in filled.items()}
            last_v2 = number if kind == "v2" else None
    found = {name: item.value for name, item in attributes(profile, sources).items()}
    assert found == {name: value for name, (value, _) in expected.items()}


@given(st.text())
def test_encoded_text_comes_back(text: str) -> None:
    """Any text that is valid Unicode."""
    assert decode_form(encode_form(text)) == text
