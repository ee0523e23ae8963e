import pytest

from sciml.option_types import expected_type, nearest


@pytest.mark.parametrize(
    ("value", "default", "expected"),
    [
        (3, 2, None), (2.5, 2, "an integer"), (True, 2, "an integer"), ("a", 2, "an integer"),
        (3, 2.0, None), (3.5, 2.0, None), (True, 2.0, "a number"), ("fast", 2.0, "a number"),
        (False, True, None), (1, True, "true or false"),
        ("b", "a", None), (3, "a", "text"), (3, "", None),
        ([1], [2], None), ({"a": 1}, [2], "a list such as [1, 2]"),
        ({"a": 1}, {"b": 2}, None), ([1], {"b": 2}, "a mapping such as {a: 1}"),
        (None, 2, None), ("anything", None, None), ("${seed}", 2, None),
    ],
)  # fmt: skip
def test_values_have_the_type_of_the_default(value, default, expected):
    assert expected_type(value, default) == expected


def test_the_nearest_word_is_hinted_at():
    assert nearest("lms", ["fno", "lsm"]) == "did you mean 'lsm'? "
    assert nearest("entirely_else", ["fno", "lsm"]) == ""
