"""The YAML reader: YAML 1.2 scalars, lines for errors, and nothing that a hostile file could do."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.catalog.files import MAX_BYTES, parse_yaml, read_json, read_yaml, write_whole
from sim.errors import InputError


def value_of(text):
    return parse_yaml(f"key: {text}\n", "file.yaml").data["key"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e9", 1e9),
        ("1E-3", 1e-3),
        ("-.5", -0.5),
        ("+7", 7),
        ("0x1f", 31),
        ("0o17", 15),
        ("007", 7),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("-.inf", -math.inf),
    ],
)
def test_numbers_flags_and_null_are_those_of_yaml_1_2(text, value):
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)


@pytest.mark.parametrize(
    "text", ["no", "yes", "on", "off", "12:30:00", "2024-01-01", "1_000", "inf", "nan", "v1.2", "0x"]
)
def test_what_older_yaml_would_turn_into_flags_times_or_dates_stays_text(text):
    assert value_of(text) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_comes_back_as_it_was_written(number):
    assert value_of(repr(number)) == number


@given(st.text(max_size=200))
def test_any_text_is_a_document_or_an_input_error_and_never_a_crash(text):
    try:
        parse_yaml(text, "file.yaml")
    except InputError as error:
        assert str(error).startswith("file.yaml")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a stands twice"),
        ("a: [1, 2\nb: 3\n", 2, "not valid YAML"),
        ("a:\n\t- 1\n", 2, "not valid YAML"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "tag"),
        ("a: !!python/tuple [1]\n", 1, "tag"),
        ("a: !!set {x: null}\n", 1, "tag"),
        ("a: !secret x\n", 1, "tag"),
        ("a: !!int ten\n", 1, "not a number"),
        ("a: !!bool maybe\n", 1, "not allowed"),
        ("a: 1\n? [b]\n: 2\n", 2, "plain text"),
        ("a: *nothing\n", 1, "undefined alias"),
        ("a: &a [*a]\n", 1, "expand without end"),
        ("a: " + "9" * 5000 + "\n", 1, "not a number"),
        ("[" * 200_000, 1, "inside each other"),
        ("a: " + "{a: " * 500 + "1" + "}" * 500, 1, "inside each other"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(text, line, words):
    with pytest.raises(InputError, match=rf"^file\.yaml:{line}: .*{words}") as caught:
        parse_yaml(text, "file.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "a: \x00", "a: \ud800"])
def test_a_file_without_a_document_or_with_broken_characters_is_refused(text):
    with pytest.raises(InputError, match=r"^file\.yaml: "):
        parse_yaml(text, "file.yaml")


def test_an_alias_bomb_is_refused():
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(InputError, match="expand without end"):
        parse_yaml("\n".join(levels), "bomb.yaml")


def test_an_alias_that_is_used_twice_is_written_out():
    assert parse_yaml("a: &x {b: 1}\nc: [*x, *x]\n", "f").data == {"a": {"b": 1}, "c": ({"b": 1}, {"b": 1})}


def test_more_than_ten_megabytes_are_refused(tmp_path):
    path = tmp_path / "large.yaml"
    path.write_bytes(b"a: 1\n" + b"#" * MAX_BYTES)
    with pytest.raises(InputError, match="10 MB"):
        read_yaml(path)
    with pytest.raises(InputError, match="10 MB"):
        parse_yaml("#" * (MAX_BYTES + 1), "large.yaml")


def test_files_that_are_missing_folders_or_not_utf_8_are_refused(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    for name, words in (("latin.yaml", "not UTF-8"), ("nothing.yaml", "cannot be read"), (".", "cannot be read")):
        with pytest.raises(InputError, match=words):
            read_yaml(tmp_path / name)


def test_a_json_file_is_refused_with_its_line(tmp_path):
    (tmp_path / "config.json").write_text('{"a": 1,\n "b": }')
    with pytest.raises(InputError, match=r"config\.json:2: not valid JSON"):
        read_json(tmp_path / "config.json")


def test_lines_are_known_for_every_key_even_inside_lists():
    document = parse_yaml("a: 1\nb:\n  - c: 2\n  - c: 3\n", "f.yaml")
    assert document.place(("b", 1, "c")) == "f.yaml:4"
    assert document.place(("b", 0, "unknown")) == "f.yaml:3"


def test_a_written_file_is_whole_and_leaves_nothing_beside_it(tmp_path):
    write_whole(tmp_path / "new" / "a.yaml", "a: 1\n")
    write_whole(tmp_path / "new" / "a.yaml", b"a: 2\n")
    assert read_yaml(tmp_path / "new" / "a.yaml").data == {"a": 2}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.yaml"]
