from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protopact_codegen.options import Options, OptionsError, parse


@pytest.mark.parametrize(
    ("parameter", "options"),
    [
        ("", Options()),
        ("messages=betterproto2", Options(parameter="messages=betterproto2")),
        ("messages=google", Options(messages="google", parameter="messages=google")),
        ("import_root=gen.messages", Options(import_root="gen.messages", parameter="import_root=gen.messages")),
        ("import_root=", Options(parameter="import_root=")),
        ("strict=true", Options(strict=True, parameter="strict=true")),
        ("strict=false", Options(parameter="strict=false")),
        ("strict", Options(strict=True, parameter="strict")),
        ("messages=google, ,strict", Options(messages="google", strict=True, parameter="messages=google, ,strict")),
    ],
)
def test_valid_options(parameter: str, options: Options) -> None:
    assert parse(parameter) == options


@pytest.mark.parametrize(
    ("parameter", "named"),
    [
        (
            "message=google",
            "there is no option `message`; the options are `messages`, `import_root`, `strict` and `lock`",
        ),
        ("messages=gogle", "valid are `messages=betterproto2` (the default) and `messages=google`"),
        ("messages=", "valid are `messages=betterproto2` (the default) and `messages=google`"),
        ("messages=protobuf_py", "valid are `messages=betterproto2` (the default) and `messages=google`"),
        ("messages=betterproto", "install betterproto2 with betterproto2-compiler"),
        ("import_root=gen/messages", "`import_root=gen/messages` is no Python package"),
        ("import_root=.gen", "is no Python package"),
        ("import_root=gen..x", "is no Python package"),
        ("import_root=class", "is no Python package"),
        ("strict=yes", "`strict=yes` is neither `strict=true` nor `strict=false`"),
        ("strict=true,strict=true", "the option `strict` is given twice"),
    ],
)
def test_bad_options_name_the_valid_ones(parameter: str, named: str) -> None:
    with pytest.raises(OptionsError) as caught:
        parse(parameter)
    assert named in str(caught.value)


def test_all_problems_at_once() -> None:
    with pytest.raises(OptionsError) as caught:
        parse("messages=x,strict=y,z")
    assert len(str(caught.value).splitlines()) == 3


@given(st.text())
def test_any_parameter_is_options_or_one_error(parameter: str) -> None:
    with suppress(OptionsError):
        assert parse(parameter).parameter == parameter
