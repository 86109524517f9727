"""What changes a line of code, on a text that has one of each kind."""

import ast

import pytest
from mutants import ROOM, ROOT, TESTS, mutants_of, place_of, sample

SOURCE = '''\
"""Of 1 module: a > b."""

Numbers = TypeVar("Numbers", int, float)
Share: TypeAlias = int | float


@cache(maxsize=1)
def share(hits: Annotated[int, 1], n: int = 7) -> Literal[1]:
    """Of 2 arguments."""
    if hits > n and not n == 0:
        raise ValueError(f"{hits + 1} > {n}" + str(n > 2))
    return divide(hits, np.maximum(n, 3), exact=True) - max(n, hits) ** 0.5
'''
EXPECTED = {
    "7 -> 8",
    "hits > n -> hits >= n",
    "hits > n and (not n == 0) -> hits > n or not n == 0",
    "not n == 0 -> n == 0",
    "n == 0 -> n != 0",
    "0 -> 1",
    "divide(hits, np.maximum(n, 3), exact=True) - max(n, hits) ** 0.5 -> "
    "divide(hits, np.maximum(n, 3), exact=True) + max(n, hits) ** 0.5",
    "divide(hits, np.maximum(n, 3), exact=True) -> divide(np.maximum(n, 3), hits, exact=True)",
    "3 -> 4",
    "True -> False",
    "max(n, hits) ** 0.5 -> max(n, hits) * 0.5",
    "0.5 -> 1.5",
}


def test_what_computes_is_mutated_and_texts_types_decorators_and_symmetric_calls_are_not() -> None:
    found = mutants_of("module.py", SOURCE)
    assert {f"{mutant.before} -> {mutant.now}" for mutant in found} == EXPECTED
    assert len(found) == len(EXPECTED)


@pytest.mark.parametrize("module", TESTS)
def test_a_mutant_is_a_program_with_one_other_line(module: str) -> None:
    source = (ROOT / ROOM / module).read_text("utf-8")
    tree = ast.dump(ast.parse(source))
    for mutant in mutants_of(module, source)[::7]:
        changed = mutant.applied(source)
        assert ast.dump(ast.parse(changed)) != tree, mutant.name
        other = [
            number
            for number, (one, two) in enumerate(
                zip(source.splitlines(), changed.splitlines(), strict=True), start=1
            )
            if one != two
        ]
        assert other == [mutant.line]


def test_the_draw_is_of_all_modules_and_the_seeds() -> None:
    drawn, again, other = (sample(ROOT / ROOM, 200, seed) for seed in (0, 0, 1))
    assert drawn == again != other
    assert len(set(drawn)) == 200
    assert {mutant.module for mutant in drawn} <= set(TESTS)
    assert len({mutant.module for mutant in drawn}) > len(TESTS) // 2


def test_every_file_of_tests_that_guards_a_module_is_there() -> None:
    for names in TESTS.values():
        assert all((ROOT / place_of(name)).is_file() for name in names)


def test_everything_that_computes_a_metric_is_guarded() -> None:
    metrics = {f"metrics/{path.name}" for path in (ROOT / ROOM / "metrics").glob("*.py")}
    declared = {f"metrics/{name}.py" for name in ("__init__", "metric", "registry")}
    assert metrics - declared <= set(TESTS)
