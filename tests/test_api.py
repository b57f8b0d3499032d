"""The public API is the list in tests/api.txt: what changes there is a change for users.

`python tests/test_api.py` writes the list anew.
"""

import dataclasses
import inspect
import sys
from pathlib import Path

import kltheory

LIST = Path(__file__).with_name("api.txt")


def lines():
    """Every public name with its signature; of a class also its public methods and fields."""
    for name in sorted(kltheory.__all__):
        value = getattr(kltheory, name)
        if inspect.isclass(value):
            yield from _class_lines(name, value)
        elif callable(value):
            yield f"{name}{_signature(value)}"
        else:
            yield f"{name}: {type(value).__name__}"


def _signature(value):
    """A signature as written; defaults by their text."""
    return str(inspect.signature(value)).replace("'", "")


def _class_lines(name, value):
    bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object)
    made = f" made by {_signature(value)}" if dataclasses.is_dataclass(value) else ""
    yield (f"class {name}({bases})" if bases else f"class {name}") + made
    for member in sorted(dir(value)):
        if member.startswith("_") or hasattr(Exception, member):
            continue
        found = inspect.getattr_static(value, member)
        if isinstance(found, (classmethod, staticmethod)):
            yield f"    {name}.{member}{_signature(getattr(value, member))}"
        elif inspect.isfunction(found):
            yield f"    {name}.{member}{_signature(found)}"
        else:
            yield f"    {name}.{member}"


def test_the_public_api_is_the_one_that_is_listed():
    """Names and signatures are those of tests/api.txt; a change there belongs in CHANGELOG.md."""
    said = LIST.read_text("utf-8").splitlines()
    found = list(lines())
    gone, new = sorted(set(said) - set(found)), sorted(set(found) - set(said))
    change = "\n".join([*(f"- {line}" for line in gone), *(f"+ {line}" for line in new)])
    assert said == found, (
        f"the public API changed:\n{change}\n"
        "if it should, run `python tests/test_api.py` and write it down in CHANGELOG.md"
    )


def test_every_public_name_says_what_it_is():
    """Each name has a docstring, and is where `dir` and `import *` look for it."""
    for name in kltheory.__all__:
        value = getattr(kltheory, name)
        if callable(value):
            assert (value.__doc__ or "").strip(), name
    assert set(kltheory.__all__) <= set(dir(kltheory))


if __name__ == "__main__":
    LIST.write_text("\n".join(lines()) + "\n", encoding="utf-8")
    print(f"{LIST} is written: look at it with `git diff`.", file=sys.stderr)
