"""Lines of keys, in documents made to hide them."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from voicepool._settings.toml_lines import key_lines

HIDING = (
    '''\
# workers = 1
text = """
workers = 2
\\""" = "
"""  # ]
'quoted key' = 'it'''
    "'"
    '''
list = [ # [
  "]", 3,
  """
  ]""", {a = 1},
]
workers = 7
a . "b" = '#'
[table] # [other]
inner = """"two quotes""""
[ "x.y" . z ]
deep = {k = "}"}
[[many]]
one = 1
[[many]]
two = 2
'''
)


def test_only_real_keys_are_found() -> None:
    assert tomllib.loads(HIDING)["workers"] == 7
    assert key_lines(HIDING) == {
        ("text",): 2,
        ("quoted key",): 6,
        ("list",): 7,
        ("workers",): 12,
        ("a", "b"): 13,
        ("table",): 14,
        ("table", "inner"): 15,
        ("x.y", "z"): 16,
        ("x.y", "z", "deep"): 17,
        ("many",): 18,
        ("many", "one"): 19,
        ("many", "two"): 21,
    }


def test_lines_of_windows() -> None:
    assert key_lines("\r\na = 1\r\n# x\r\nb = [\r\n]\r\nc = 1") == {("a",): 2, ("b",): 4, ("c",): 6}


def test_nothing_is_found_in_nothing() -> None:
    assert key_lines("") == key_lines("# a = 1") == {}


VALUES = st.sampled_from(
    ["1", '"#"', "'\"'", '"""\n#"\n"""', "'''\n=\n'''", "[\n1, # ]\n]", '{a = "}"}', '"\\""', "[[], [']']]"]
)


@given(values=st.lists(VALUES, max_size=8))
def test_every_key_is_found_at_its_line(values: list[str]) -> None:
    text, wanted = "", {}
    for number, value in enumerate(values):
        wanted[(f"key{number}",)] = text.count("\n") + 1
        text += f"key{number} = {value} # = [\n"
    assert list(tomllib.loads(text)) == [key for (key,) in wanted]
    assert key_lines(text) == wanted
