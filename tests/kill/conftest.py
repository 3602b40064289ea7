"""The assertions of the verdict tell what they compared."""

import pytest

pytest.register_assert_rewrite("tests.kill.verdict", "tests.kill.family_verdict", "tests.kill.zygote")
