"""A package, so that `tests.helpers` is found here and never in an installed package of that name."""

import pytest

pytest.register_assert_rewrite("tests.helpers")  # a failed assertion in a helper shows its values, as in a test
