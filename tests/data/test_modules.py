"""Modules become code and docstrings, no text twice; packages take turns where not all have room."""

import ast

from hypothesis import given
from hypothesis import strategies as st

from data.documents import in_turns
from data.modules import Module, module_documents, separated

CODE = '''"""Module."""
if True:
    class A:
        """Class."""
        async def f(self):
            """Method
            on two lines."""
            def inner():
                "Inner \\d."
x = """no docstring"""
def g():
    """Function."""
def h(): "stays with the code"
'''


def test_docstrings_come_in_source_order_under_qualified_names_and_leave_the_code():
    code, docstrings = separated(CODE, "m")
    assert docstrings.split("\n\n\n") == [
        "m\n\nModule.",
        "m.A\n\nClass.",
        "m.A.f\n\nMethod\non two lines.",
        "m.A.f.inner\n\nInner \\d.",
        "m.g\n\nFunction.",
    ]
    assert code.split("\n") == [
        "if True:",
        "    class A:",
        "        async def f(self):",
        "            def inner():",
        'x = """no docstring"""',
        "def g():",
        'def h(): "stays with the code"',
        "",
    ]


def test_what_is_no_python_of_today_stays_whole():
    for text in ("print 'hello'\n", "x = (\n", "\0"):
        assert separated(text, "m") == (text, "")


@given(
    st.lists(
        st.sampled_from(["x = 'größe'", '"""Eine\nGröße."""', "", "\x0c", "def f(): pass", '"a"; y = 1'])
    )
)
def test_a_module_is_its_docstring_and_the_other_lines(parts):
    text = "\n".join(parts)
    code, docstrings = separated(text, "m")
    docstring = ast.get_docstring(ast.parse(text))
    if docstring is None or docstring == "a":  # the latter shares its line with code
        assert (code, docstrings) == (text, "")
    else:
        assert docstrings == f"m\n\n{docstring}"
        parts.remove('"""Eine\nGröße."""')
        assert code == "\n".join(parts)


def test_packages_take_turns_until_the_budget_is_spent(tmp_path):
    modules = []
    for package, count in (("large", 20), ("small", 2), ("single", 1)):
        for number in range(count):
            path = tmp_path / f"{package}{number}.py"
            path.write_text("x" * 99 + "\n")
            modules.append(Module(f"{package}.m{number}", path, package))
    previous = set()
    for budget, most in ((1, 1), (300, 1), (500, 2), (900, 6), (None, 20)):
        taken = {document.source: document.package for document in module_documents(modules, budget)}
        assert previous <= set(taken) and len(taken) == (23 if budget is None else max(1, budget // 100))
        assert max(list(taken.values()).count(package) for package in taken.values()) <= most
        previous = set(taken)


@given(st.lists(st.tuples(st.text(max_size=3), st.sampled_from("abc")), unique=True))
def test_turns_are_an_order_that_others_do_not_change(named):
    names, packages = [name for name, _ in named], [package for _, package in named]
    order = [named[i] for i in in_turns(names, packages)]
    assert sorted(order) == sorted(named)
    without = [(name, package) for name, package in named if package != "b"]
    again = in_turns([name for name, _ in without], [package for _, package in without])
    assert [without[i] for i in again] == [each for each in order if each[1] != "b"]
