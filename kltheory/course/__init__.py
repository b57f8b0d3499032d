"""The exercises of the notebooks: `check(name, answer)` for students, `COURSE.grade` for teachers.

Lesson NN has its exercises in `lesson_NN`; their answers are computed when one is checked.

>>> check("1.1", "sqrt(2*s) ")
1.1: right.
>>> check("1.1", "sqrt(s)")
1.1: not yet; a factor is missing: the answer is sqrt(2) times this.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from kltheory.teaching import Course, Exercise

__all__ = ["COURSE", "check"]


def _exercises() -> tuple[Exercise, ...]:
    """The exercises of all lessons, in their order."""
    names = sorted(
        module.name
        for module in pkgutil.iter_modules([str(Path(__file__).parent)])
        if module.name.startswith("lesson_")
    )
    lessons = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(exercise for lesson in lessons for exercise in lesson.EXERCISES)


COURSE = Course(_exercises())
"""All exercises."""

check = COURSE.check
