"""What is written into a module is read back by Python as it was."""

from __future__ import annotations

import ast

from hypothesis import given
from hypothesis import strategies as st

from protopact_codegen.emit_expression import WIDTH, Bytes, Call, Tuple, docstring, signature, text, write

TEXTS = st.text(st.sampled_from("\"'\\\n\t {}%#aé🙂\u202e\u200b\x00\x7f\u2028") | st.characters(codec="utf-8"))


@given(TEXTS)
def test_a_text_is_read_back(value: str) -> None:
    written = text(value)
    assert ast.literal_eval(written) == value
    assert written.isprintable()


@given(TEXTS, st.sampled_from([0, 4, 12]))
def test_a_docstring_is_read_back(value: str, indent: int) -> None:
    written = docstring(value, indent)
    assert all(line.isprintable() for line in written.split("\n"))
    lines = [line.rstrip() for line in value.strip().expandtabs().split("\n")]
    read = ast.literal_eval(written).split("\n")
    assert [line.removeprefix(" " * indent) if number else line for number, line in enumerate(read)][
        : len(lines)
    ] == lines


def test_a_docstring_is_indented_as_its_body() -> None:
    assert docstring("One.\n\n  Two.\nThree.", 4) == '"""One.\n\n      Two.\n    Three.\n    """'


@given(st.binary(max_size=400), st.integers(0, 40))
def test_bytes_are_read_back_and_broken_into_lines(value: bytes, indent: int) -> None:
    written = write(Bytes(value), indent, "x = ")
    assert ast.literal_eval(written.removeprefix("x = ")) == value
    assert all(len(line) <= WIDTH for line in written.splitlines())


def test_calls_are_broken_where_they_do_not_fit() -> None:
    short = Call("f", [("", "a"), ("b", Tuple(["c"]))])
    assert write(short, 0) == "f(a, b=(c,))"
    names = [f"argument_{number}" for number in range(9)]
    assert write(Call("f", [("", name) for name in names]), 4, "return await ") == (
        f"return await f(\n        {', '.join(names)}\n    )"
    )
    assert write(Call("f", [(name, "None") for name in names]), 0, "x = ") == (
        "x = f(\n" + "".join(f"    {name}=None,\n" for name in names) + ")"
    )


def test_signatures_are_broken_where_they_do_not_fit() -> None:
    assert signature("def f", ["self"], "None", 4) == "def f(self) -> None:"
    parameters = ["self", "request: " + "R" * 50, "/"]
    assert signature("async def f", parameters, "S" * 60, 8) == (
        f"async def f(\n            {', '.join(parameters)}\n        ) -> {'S' * 60}:"
    )
