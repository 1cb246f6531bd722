"""Every row of tests/cases/planning is a plan."""

import pytest
from tests.unit.planning.case_tables import Case, cases, written

from iotistic.planning.planner import plan

CASES = list(cases())


def _id(case: Case) -> str:
    return f"{case.table}: {case.name}"


@pytest.mark.parametrize("case", CASES, ids=_id)
def test_the_plan_is_the_one_in_the_table(case: Case) -> None:
    steps = [written(step) for step in plan(case.current, case.target, case.facts)]
    expected = [step.strip() for step in case.steps.replace("`", "").split(";") if step.strip() != "-"]
    assert len(steps) == len(expected), steps
    assert all(
        step == want or (want.startswith("wait ") and step.startswith("wait ") and want[5:] in step)
        for step, want in zip(steps, expected, strict=True)
    ), steps


def test_there_are_as_many_cases_as_the_specification_has() -> None:
    assert len(CASES) >= 150


def test_no_two_cases_have_one_name() -> None:
    assert len({_id(case) for case in CASES}) == len(CASES)
