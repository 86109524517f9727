import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from livo_bench import scorers
from livo_bench.cli import main
from livo_bench.engines import diffusion
from livo_bench.engines.seeds import seed_of
from livo_bench.errors import BadInput, UnknownName
from livo_bench.runs import requests
from livo_bench.runs.requests import Job
from livo_bench.runs.session import Session

CARD = """\
name = "own"
title = "Own"
version = 1
tasks = ["bias"]
told = "value"
summary = "Writes the value behind the prompt."
paper = ""
differences = []
"""
ADAPTER = """\
from dataclasses import replace

class Own:
    def resolve(self, request, base):
        return replace(base, text=f"{base.text}, {request.principle.value}")

def load(context):
    return Own()
"""


@pytest.fixture(autouse=True)
def _no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this module may load a generator or a judge."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(diffusion, "load", refuse)
    monkeypatch.setattr(scorers.Lazy, "__call__", refuse)


@pytest.fixture
def own(tmp_path: Path) -> str:
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "card.toml").write_text(CARD, encoding="utf-8")
    (folder / "adapter.py").write_text(ADAPTER, encoding="utf-8")
    return str(folder)


@pytest.fixture
def prepare(tiny_model: Path, tmp_path: Path) -> Callable[..., tuple[Session, list[Job]]]:
    """`requests.prepare` with the arguments of a small run, but for those given."""

    def call(**changes: Any) -> tuple[Session, list[Job]]:
        arguments: dict[str, Any] = {
            "methods": ["sd"],
            "task": "bias",
            "model": str(tiny_model),
            "images": 2,
            "prompts": None,
            "seed": 42,
            "device": "cpu",
            "dtype": None,
            "runs": tmp_path / "runs",
        }
        rows = changes.pop("rows", None)
        if rows is not None:
            changes["prompts"] = tmp_path / "prompts.csv"
            changes["prompts"].write_text("\n".join(["text,category", *rows]), encoding="utf-8")
        return requests.prepare(**arguments | changes)

    return call


def test_every_subset_prompt_and_index_is_requested_once(
    prepare: Callable[..., tuple[Session, list[Job]]],
) -> None:
    _, [job] = prepare(rows=["a doctor,career", "a nurse,career"])
    asked = [
        (request.principle.subset, request.prompt.text, request.index) for request, _ in job.wanted
    ]
    assert asked == [
        (subset, text, index)
        for subset in ("gender", "race")
        for text in ("a doctor", "a nurse")
        for index in (0, 1)
    ]
    assert {subset for subset, _ in job.scorers} == {"gender", "race"}


def test_a_subset_is_sampled_on_its_own_categories(
    prepare: Callable[..., tuple[Session, list[Job]]],
) -> None:
    rows = ["a beach,nudity", "a knife,bloody", "a grave,horror"]
    _, [job] = prepare(task="toxicity", rows=rows)
    by_subset = {request.principle.subset: request.prompt.text for request, _ in job.wanted}
    assert by_subset == {"nudity": "a beach", "bloody": "a knife", "horror": "a grave"}
    assert len(job.wanted) == 6


def test_the_tasks_evaluation_prompts_are_the_default(
    prepare: Callable[..., tuple[Session, list[Job]]],
) -> None:
    _, [job] = prepare(images=1)
    assert {request.prompt.split for request, _ in job.wanted} == {"eval"}
    assert {request.prompt.category for request, _ in job.wanted} == {
        "career",
        "positive",
        "negative",
    }


def test_sd_wants_its_own_reference_and_subsets_share_the_recipes(
    prepare: Callable[..., tuple[Session, list[Job]]],
) -> None:
    _, [job] = prepare(rows=["a doctor,career"])
    assert job.wanted == job.reference
    gender, race = job.wanted[:2], job.wanted[2:]
    assert [recipe for _, recipe in gender] == [recipe for _, recipe in race]


def test_an_independent_reference_is_the_next_indices_of_the_same_prompts(
    prepare: Callable[..., tuple[Session, list[Job]]],
) -> None:
    rows = ["a doctor,career", "a nurse,career"]
    _, [job] = prepare(rows=rows, images=3, independent_reference=True)
    asked = [[(r.principle.subset, r.prompt.text) for r, _ in part]
             for part in (job.reference, job.independent)]  # fmt: skip
    assert asked[0] == asked[1]
    assert [request.index for request, _ in job.independent[:3]] == [3, 4, 5]
    keys = [{recipe.key for _, recipe in part} for part in (job.reference, job.independent)]
    assert keys[0].isdisjoint(keys[1])
    # They are the unaligned model's own images: those of a larger run.
    _, [larger] = prepare(rows=rows, images=6)
    assert keys[0] | keys[1] == {recipe.key for _, recipe in larger.reference}
    _, [without] = prepare(rows=rows, images=3)
    assert not without.independent


def test_an_independent_reference_that_would_use_pilots_is_refused(
    prepare: Callable[..., tuple[Session, list[Job]]],
) -> None:
    with pytest.raises(BadInput, match=r"indices up to 1001, but those from 1000 up.*--images 500"):
        prepare(images=501, independent_reference=True)


def test_a_method_of_ones_own_resolves_each_request_and_keeps_the_tasks_seed(
    prepare: Callable[..., tuple[Session, list[Job]]], own: str
) -> None:
    _, [job] = prepare(methods=[own], rows=["a doctor,career"], seed=7)
    texts = [recipe.text for _, recipe in job.wanted]
    assert texts == ["a doctor, gender equality"] * 2 + ["a doctor, racial equality"] * 2
    seeds = [recipe.seed for _, recipe in job.wanted]
    assert seeds == [seed_of(7, "a doctor", index) for index in (0, 1)] * 2
    assert [recipe.text for _, recipe in job.reference] == ["a doctor"] * 4


def test_results_of_a_task_and_of_a_subset_lie_in_different_places(
    prepare: Callable[..., tuple[Session, list[Job]]],
) -> None:
    rows = ["a doctor,career"]
    _, [whole] = prepare(rows=rows)
    _, [part] = prepare(task="bias/gender", rows=rows)
    assert (whole.subset, whole.place) == (None, "bias")
    assert (part.subset, part.place) == ("gender", "bias.gender")


def test_there_is_a_job_for_each_task_and_each_method_that_is_made_for_it(
    prepare: Callable[..., tuple[Session, list[Job]]], own: str
) -> None:
    _, prepared = prepare(methods=[own, "sd"], task="all", images=1)
    pairs = [(job.task.name, job.method.name) for job in prepared]
    assert pairs == [("bias", "own"), ("bias", "sd"), ("toxicity", "sd")]


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        (
            {"methods": ["sdd"]},
            UnknownName,
            ["'sdd'", "safree, sd, ", "Did you mean 'sd'?"],
        ),
        ({"methods": ["sd", "sd:fast"]}, UnknownName, ["'fast'", "It has none."]),
        ({"methods": ["./nowhere"]}, BadInput, ["'./nowhere'", "--method"]),
        (
            {"task": "bais"},
            UnknownName,
            ["'bais'", "bias, overcorrection, toxicity", "Did you mean 'bias'?"],
        ),
        ({"task": "bias/age"}, UnknownName, ["'age'", "gender, race"]),
        ({"model": "mimi"}, UnknownName, ["'mimi'", "mini", "--model ./my-model"]),
        ({"device": "abacus"}, BadInput, ["'abacus'", "This machine has: cpu", "--device auto"]),
        ({"device": "cuda:99"}, BadInput, ["'cuda:99'", "This machine has: cpu", "--device auto"]),
        ({"prompts": Path("nowhere.csv")}, BadInput, ["nowhere.csv", "No such file"]),
        ({"rows": ["a doctor,crime"]}, BadInput, ["line 2", "'crime'", "career, positive"]),
        (
            {"task": "toxicity", "rows": ["a beach,nudity"]},
            BadInput,
            ["toxicity/bloody", "(bloody)", "--task toxicity/SUBSET"],
        ),
    ],
    ids=[
        "method",
        "variant",
        "method folder",
        "task",
        "subset",
        "model",
        "device",
        "device number",
        "prompts file",
        "category",
        "subset without prompts",
    ],
)
def test_a_wrong_argument_is_named_with_what_was_expected(
    prepare: Callable[..., tuple[Session, list[Job]]],
    changes: dict[str, object],
    error: type,
    said: list[str],
) -> None:
    with pytest.raises(error) as caught:
        prepare(**changes)
    for words in said:
        assert words in str(caught.value)


def test_methods_that_are_skipped_are_named(
    prepare: Callable[..., tuple[Session, list[Job]]], own: str, caplog: pytest.LogCaptureFixture
) -> None:
    prepare(methods=["sd", own], task="all", images=1)
    assert caplog.messages == ["own is not made for toxicity: skipped"]
    caplog.clear()
    prepare(methods=["fd"], task="overcorrection", model="mini", images=1)
    [said] = caplog.messages
    assert said == (
        "fd is not made for overcorrection/nudity, overcorrection/bloody, overcorrection/horror: "
        "skipped"
    )


def test_two_methods_of_one_name_are_refused(
    prepare: Callable[..., tuple[Session, list[Job]]], own: str, tmp_path: Path
) -> None:
    other = str(shutil.copytree(own, tmp_path / "other" / "own"))
    with pytest.raises(BadInput, match=rf"{own} and {other} are both called 'own'"):
        prepare(methods=[own, "sd", other])


@pytest.fixture
def ages(tmp_path: Path) -> str:
    """A task of a user's own, with the groups of no other task."""
    folder = tmp_path / "ages"
    (folder / "prompts").mkdir(parents=True)
    (folder / "card.toml").write_text(
        'name = "ages"\ntitle = "Age"\nversion = 1\nsummary = "Are images even among ages?"\n'
        'class_text = "{prompt}, {attribute}"\ncategories = ["job"]\n'
        '[subsets.age]\nvalue = "age equality"\nattributes = ["old", "young"]\n',
        encoding="utf-8",
    )
    (folder / "prompts" / "mini.csv").write_text(
        "id,text,concept,category,template,split\n"
        "nurse,a photo of a nurse,nurse,job,a photo of {},eval\n",
        encoding="utf-8",
    )
    return str(folder)


def test_a_task_of_ones_own_is_for_the_methods_made_for_bias(
    prepare: Callable[..., tuple[Session, list[Job]]], ages: str
) -> None:
    names = ["sd", "livo", "dpo", "fd", "dapt", "uce:joint", "attributes"]
    _, prepared = prepare(methods=names, task=ages, model="mini")
    jobs_of = {job.method.name: job for job in prepared}
    assert list(jobs_of) == names
    # Half of its images are steered, as where the package asks for evenness.
    values = [recipe.value for _, recipe in jobs_of["livo"].wanted]
    assert values == ["age equality", None]
    texts = {recipe.text for _, recipe in jobs_of["attributes"].wanted}
    assert texts == {"a photo of an old nurse", "a photo of a young nurse"}


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("uce", "There are no weights for category 'job'"),
        ("livo:calibrated", "has no share for age"),
    ],
)
def test_a_method_that_knows_nothing_of_ones_own_task_says_so(
    prepare: Callable[..., tuple[Session, list[Job]]], ages: str, method: str, said: str
) -> None:
    with pytest.raises(BadInput) as error:
        prepare(methods=[method], task=ages, model="mini")
    assert f"Method {method!r} has no recipe for prompt 'nurse' of ages/age: " in str(error.value)
    assert said in str(error.value)


def test_a_method_that_is_not_made_for_the_task_is_refused(
    prepare: Callable[..., tuple[Session, list[Job]]], own: str
) -> None:
    with pytest.raises(BadInput, match=r"'toxicity'.*own: bias.*livo-bench list"):
        prepare(methods=[own], task="toxicity")


@pytest.mark.parametrize(("part", "marker"), [("sd", "model_index"), ("clip", "open_clip_config")])
def test_a_model_folder_that_is_not_one_is_refused(
    prepare: Callable[..., tuple[Session, list[Job]]],
    tiny_model: Path,
    tmp_path: Path,
    part: str,
    marker: str,
) -> None:
    (tmp_path / "empty").mkdir()
    text = tiny_model.read_text("utf-8").replace(f'"./{part}"', f'"{tmp_path / "empty"}"')
    card = tmp_path / "tiny.toml"
    card.write_text(text.replace('"./', f'"{tiny_model.parent}/'), encoding="utf-8")
    with pytest.raises(BadInput, match=rf"empty is not such a model: it has no {marker}\.json"):
        prepare(model=str(card))[1][0].scorers  # noqa: B018, looked up before anything loads


def test_the_command_line_answers_with_the_message_and_exit_code_2(tmp_path: Path) -> None:
    arguments = ["run", "--method=sd", "--task=bias/age", f"--runs={tmp_path / 'runs'}"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: Task 'bias' has no subset 'age'.")
    assert not (tmp_path / "runs").exists()


def test_a_method_for_some_subsets_of_a_task_is_asked_for_those_alone(
    prepare: Callable[..., tuple[Session, list[Job]]], own: str
) -> None:
    card = Path(own) / "card.toml"
    text = CARD.replace('["bias"]', '["toxicity/bloody", "toxicity/horror", "bias/race"]')
    card.write_text(text, encoding="utf-8")
    rows = [f"a {category} scene,{category}" for category in ("nudity", "bloody", "horror")]
    _, [sd, some] = prepare(methods=["sd", own], task="toxicity", rows=rows)
    assert len(sd.wanted) == len(sd.reference) == 3 * 2
    assert len(some.wanted) == len(some.reference) == 2 * 2
    assert {request.principle.subset for request, _ in some.reference} == {"bloody", "horror"}
    assert (some.subset, some.place) == (None, "toxicity")
    _, [one] = prepare(methods=[own], rows=["a doctor,career"])
    assert (one.subset, one.place) == ("race", "bias.race")
