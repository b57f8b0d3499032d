"""Exercises that check themselves: any form of the right answer is accepted, slips get a hint.

The answers are not stored: they are computed by this package when an answer is checked.

>>> exercise = Exercise("demo", "Ψ of ψ(s) = √s?", "-log(s)/4", variable="s", up_to="constant")
>>> exercise.check("-log(s)/4 + 17")
demo: right.
>>> exercise.check("-log(s)/2")
demo: not yet; a factor is missing: the answer is 1/2 times this.
"""

from __future__ import annotations

import ast
import html
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kltheory.errors import InputError, ParseError

__all__ = ["Course", "Exercise", "Feedback", "Marks", "answers_in"]


@dataclass(frozen=True, slots=True)
class Feedback:
    """What is said to an answer; true if it is right."""

    exercise: str
    """The exercise's name."""
    right: bool
    """Whether the answer is right."""
    hint: str | None
    """If not: what seems to have gone wrong, where that is known."""

    def __bool__(self) -> bool:
        """Return whether the answer is right."""
        return self.right

    def __repr__(self) -> str:
        """Return a sentence."""
        if self.right:
            return f"{self.exercise}: right."
        return f"{self.exercise}: not yet{'; ' + self.hint if self.hint else ''}."

    def _repr_html_(self) -> str:
        """Return the sentence with a mark that does not rest on colour alone."""
        mark, colour = ("✓", "#1b7837") if self.right else ("✗", "#b35806")
        text = html.escape(repr(self)).replace("\n", "<br>")
        return f'<span style="color:{colour}"><b>{mark}</b></span> {text}'


@dataclass(frozen=True, slots=True)
class Exercise:
    """A question with one answer: a formula (`variable` given), a number, or one of some words."""

    name: str
    """Its name in the course, such as "2.3"."""
    question: str
    """The question in a sentence."""
    answer: Any
    """The answer, or a function without arguments that computes it when it is needed."""
    variable: str | None = None
    """For a formula: the name of its variable."""
    up_to: str = "nothing"
    """For a formula: "constant" or "factor" if it is right up to one."""
    relative: float = 0.01
    """For a number: the relative accuracy that is asked for."""
    choices: tuple[str, ...] = ()
    """For a choice: all the words."""
    mistakes: Mapping[str, str] = field(default_factory=dict)
    """Wrong answers and what to say to them."""
    marks: float = 1.0
    """What it counts."""

    def __post_init__(self) -> None:
        """Make the mapping read-only."""
        object.__setattr__(self, "mistakes", MappingProxyType(dict(self.mistakes)))

    def solve(self) -> Any:
        """Return the answer."""
        return self.answer() if callable(self.answer) else self.answer

    def check(self, answer: Any) -> Feedback:
        """Say whether an answer is right, and if not, what lies between; never raises for it."""
        if answer is None or answer is Ellipsis or (isinstance(answer, str) and not answer.strip()):
            return Feedback(self.name, False, "there is no answer yet")
        try:
            right, hint = self._compare(answer)
        except ParseError as error:
            return Feedback(self.name, False, f"the answer could not be read: {error}")
        except (InputError, TypeError, ValueError, OverflowError):
            kind = "a formula as text" if self.variable else "a number"
            return Feedback(self.name, False, f"the answer is {kind}")
        return Feedback(self.name, right, hint)

    def _compare(self, answer: Any) -> tuple[bool, str | None]:
        from kltheory.symbolic.equivalence import compare, compare_numbers

        if self.choices:
            return self._choose(str(answer))
        if self.variable is None:
            found = compare_numbers(answer, float(self.solve()), self.relative)
            known = None if found.right else _mistake(self, answer, compare_numbers)
            return found.right, known or found.hint
        if not isinstance(answer, str):
            answer = str(answer)
        comparison = compare(
            answer, self.solve(), self.variable, up_to=self.up_to, mistakes=self.mistakes
        )
        return comparison.right, comparison.hint

    def _choose(self, answer: str) -> tuple[bool, str | None]:
        word = _plain(answer)
        if word == _plain(str(self.solve())):
            return True, None
        if word not in map(_plain, self.choices):
            return False, f"choose one of: {', '.join(self.choices)}"
        hints = {_plain(wrong): hint for wrong, hint in self.mistakes.items()}
        return False, hints.get(word)


def _plain(text: str) -> str:
    return text.strip().lower().replace(" ", "-").replace("_", "-")


def _mistake(exercise: Exercise, answer: Any, compare: Callable[..., Any]) -> str | None:
    for wrong, hint in exercise.mistakes.items():
        if compare(answer, float(wrong), exercise.relative).right:
            return hint
    return None


@dataclass(frozen=True, slots=True)
class Marks:
    """What a set of answers is worth."""

    feedback: tuple[Feedback, ...]
    """One for each exercise of the course, in its order."""
    got: float
    """The marks of the right answers."""
    of: float
    """The marks that there are."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "got": self.got,
            "of": self.of,
            "exercises": {f.exercise: {"right": f.right, "hint": f.hint} for f in self.feedback},
        }

    def __repr__(self) -> str:
        """Return a line for each exercise, then the sum."""
        return "\n".join([*map(repr, self.feedback), f"{self.got:g} of {self.of:g}"])


@dataclass(frozen=True, slots=True)
class Course:
    """Exercises by name, and the marks for a set of answers."""

    exercises: tuple[Exercise, ...]
    """In the order of the course."""

    def __post_init__(self) -> None:
        """Refuse a name that is there twice."""
        names = [exercise.name for exercise in self.exercises]
        if len(set(names)) < len(names):
            raise InputError(f"an exercise is named twice: {sorted(names)}")

    def __iter__(self) -> Iterator[Exercise]:
        """Iterate over the exercises."""
        return iter(self.exercises)

    def __getitem__(self, name: str) -> Exercise:
        """Return the exercise of that name."""
        for exercise in self.exercises:
            if exercise.name == str(name):
                return exercise
        raise InputError(f"there is no exercise {str(name)[:40]!r}; there are: {self.names}.")

    @property
    def names(self) -> str:
        """The names, separated by commas."""
        return ", ".join(exercise.name for exercise in self.exercises)

    def check(self, name: str, answer: Any) -> Feedback:
        """Check the answer to one exercise."""
        return self[name].check(answer)

    def grade(self, answers: Mapping[str, Any]) -> Marks:
        """Check a set of answers, name → answer; an exercise without one counts as not answered.

        Raises InputError for a name that is no exercise.
        """
        for name in answers:
            self[name]
        feedback = tuple(exercise.check(answers.get(exercise.name)) for exercise in self)
        got = sum((e.marks for e, f in zip(self, feedback, strict=True) if f.right), 0.0)
        return Marks(feedback, got, sum(exercise.marks for exercise in self))


def answers_in(notebook: str | Path) -> dict[str, Any]:
    """Read the answers out of a notebook: name → answer, from its calls `check("2.3", answer)`.

    Nothing is executed: an answer that is no plain text or number is taken as it is written.  Of
    several answers to one exercise the last counts.

    Raises InputError for a file that is no notebook.
    """
    try:
        cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
        sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{str(notebook)!r} is no notebook: {error}") from error
    found: dict[str, Any] = {}
    for source in sources:
        try:
            calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        except (SyntaxError, ValueError, RecursionError):
            continue  # magic, or a slip: nothing that could be graded
        for call in calls:
            if isinstance(call.func, ast.Name) and call.func.id == "check" and len(call.args) == 2:
                name, answer = map(_literal, call.args)
                found[str(name)] = answer
    return found


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return ast.unparse(node)
