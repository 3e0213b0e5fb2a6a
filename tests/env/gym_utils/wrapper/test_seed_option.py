import pytest

from env.gym_utils.wrapper.seed_option import choose_seed


@pytest.mark.parametrize(
    ("seed", "options", "expected"),
    [
        (None, None, None),
        (3, None, 3),
        (3, {}, 3),
        (3, {"seed": None}, 3),
        (3, {"seed": 0}, 0),
        (None, {"seed": 5}, 5),
    ],
)
def test_the_option_wins_if_given(seed, options, expected):
    assert choose_seed(seed, options) == expected
