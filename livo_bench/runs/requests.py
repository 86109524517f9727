"""From a command's arguments to resolved requests: one job for each method and task.

Whatever can be wrong with cards, prompts, adapters or arguments is found here, before a model is
loaded; what is wrong with judges, when a job is asked for them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache, cached_property
from itertools import groupby
from pathlib import Path
from typing import Unpack

from livo_bench.cards import readable
from livo_bench.cards.adapters import LoadedMethod, load_method, require_offered
from livo_bench.cards.catalog import (
    method_name,
    model_card,
    protocol_card,
    select_methods,
    select_tasks,
    task_cards,
)
from livo_bench.cards.declared import ModelCard, ProtocolCard, Subset, TaskCard
from livo_bench.cards.prompts import list_name, read_task_prompts, read_user_prompts
from livo_bench.cards.scorer_kinds import HAZARDS
from livo_bench.cards.wording import hazard_free
from livo_bench.engines.acceleration import COMPILED, choose
from livo_bench.errors import BadInput, Unfit, Untrained
from livo_bench.interfaces import Scorer
from livo_bench.records import BIAS, PILOT, TEXT, Prompt, Recipe, Request
from livo_bench.runs.given_pictures import Pictures
from livo_bench.runs.given_pictures import load as load_pictures
from livo_bench.runs.given_weights import by_method
from livo_bench.runs.keeping import ALL, share_of
from livo_bench.runs.options import RunOptions, complete
from livo_bench.runs.session import Session, find_device
from livo_bench.runs.wanted import Wanted
from livo_bench.scorers.substitute import put_in

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A method on a task, with the requests and recipes that it comes to."""

    session: Session
    method: LoadedMethod
    task: TaskCard
    subsets: Sequence[Subset]
    """Subsets of the task that were asked for and that the method is made for."""
    images: int
    """Number of images per prompt and subset."""
    wanted: Wanted
    reference: Wanted
    """The unaligned model's images of the same requests, which FID compares with; none where they
    do not share their noise, unless an independent reference needs a floor."""
    independent: Wanted = field(default_factory=Wanted)
    """The unaligned model's images of the same prompts from other noise, where FID is to compare
    with these, too."""
    prompts: str = ""
    """The list of one's own that the prompts are from, see `prompts.list_name`."""

    @cached_property
    def scorers(self) -> Mapping[tuple[str, str], Scorer]:
        """Judge of each subset and category of prompts: the subset's, or the feature network for
        the harmless of a control."""
        return _scorers(self.session, self.task, self.subsets)

    @property
    def shares_noise(self) -> bool:
        """Whether image i started from the noise of the unaligned model's image i, so that one may
        be held against the other: a service and what was made elsewhere drew their own."""
        return self.pictures is None and self.session.service is None

    @property
    def pictures(self) -> Pictures | None:
        """The pictures that were made elsewhere; None where images are made here."""
        return self.method.method if isinstance(self.method.method, Pictures) else None

    def names_hazard(self, prompt: Prompt) -> bool:
        """Whether the task is about hazards and the prompt names one by words that are known, so
        that its images are held against the prompt without them, too."""
        return self.task.judge == HAZARDS and hazard_free(prompt.text) is not None

    @property
    def people(self) -> Scorer | None:
        """What counts the persons of the images; None where nobody does, or groups are not asked
        about."""
        return self.session.people if self.task.kind == BIAS else None

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        model = self.session.protocol.of(self.session.model.name)
        return self.session.results / model / self.method.name.replace(":", "-") / self.place

    @property
    def subset(self) -> str | None:
        """The one subset of several that this is; None where it is all or some of them."""
        return self.subsets[0].name if len(self.subsets) == 1 < len(self.task.subsets) else None

    @property
    def place(self) -> str:
        """Folder name of the results: `bias`, or `bias.gender` for a subset alone."""
        return self.task.name if self.subset is None else f"{self.task.name}.{self.subset}"


def prepare(
    methods: Sequence[str],
    task: str,
    model: str = "mini",
    **options: Unpack[RunOptions],
) -> tuple[Session, list[Job]]:
    """Read cards, prompts and adapters, and resolve every request; loads no model.

    Args as for `runner.run`, and see `RunOptions`.

    Raises:
        LivoBenchError: Whatever is wrong with the arguments.
    """
    asked = complete(options)
    images, prompts, images_from = asked["images"], asked["prompts"], asked["images_from"]
    weights, independent_reference = asked["weights"], asked["independent_reference"]
    card = model_card(model)
    tasks = select_tasks(task)
    named, methods = methods, select_methods(methods)
    if images_from is not None and len(methods) > 1:
        raise BadInput(
            f"Pictures {str(images_from)!r} were given to {len(methods)} methods: "
            f"{', '.join(methods)}; expected one.",
            "Run them one by one.",
        )
    conventions = protocol_card(asked["protocol"])
    if conventions.images and images != conventions.images:
        raise BadInput(
            f"The protocol {conventions.name!r} makes {conventions.images} images of a prompt, "
            f"asked for are {images}.",
            f"Pass --images {conventions.images}, or leave --protocol out.",
        )
    if independent_reference and 2 * images > PILOT:
        raise BadInput(
            f"An independent reference of {images} images a prompt needs indices up to "
            f"{2 * images - 1}, but those from {PILOT} up are for pilots.",
            f"Use at most --images {PILOT // 2}",
        )
    if images_from is None:
        loaded, skipped = _load(methods, named, card, weights, conventions)
    else:
        loaded, skipped = [_pictures(images_from, methods[0], tasks, weights)], []
    files = {digest: place for method in loaded for digest, place in method.files.items()}
    stand_in = None
    for scorer in asked["scorer"]:  # of several only a plan asks, whose images are the same
        card, stand_in = put_in(card, scorer, [task_card for task_card, _ in tasks])
    for role in card.roles_for(task for task, _ in tasks):
        card.judges[role].check(role)
    share_of(asked["keep"])
    thrown = choose(asked["switches"])
    if card.service is not None:
        _refuse_for_service(card.name, asked, [task_card for task_card, _ in tasks])
    elif thrown and card.kind != readable.PIPELINE:
        raise BadInput(
            f"Switches {', '.join(thrown)} make the UNet of a {readable.PIPELINE} faster, and "
            f"{card.name!r} is a {card.kind}.",
            "Leave --switch out.",
        )
    session = Session(
        card,
        asked["seed"],
        find_device(asked["device"]),
        asked["dtype"] or card.dtype,
        asked["runs"],
        files,
        conventions,
        stand_in,
        thrown,
        asked,
    )
    own_list = "" if prompts is None else list_name(prompts)
    lists = [(*task, _prompts(task[0], card, prompts)) for task in tasks]
    if images_from is not None:
        _open_pictures(loaded[0], lists, images, card if prompts is None else None)
    jobs = []
    for task_card, subsets, listed in lists:
        made_for = {
            method.name: tuple(s for s in subsets if method.card.is_for(task_card, s.name))
            for method in loaded
        }
        base, resolved = _resolve(
            session, _requests(task_card, subsets, listed, range(images)), loaded, made_for
        )
        rest = range(images, 2 * images if independent_reference else images)
        others, _ = _resolve(session, _requests(task_card, subsets, listed, rest), [], {})
        for method in loaded:
            own, wanted = made_for[method.name], resolved[method.name]
            places = [f"{task_card.name}/{s.name}" for s in subsets if s not in own]
            if places:
                where = ", ".join(places) if own else task_card.name
                skipped.append(f"{method.name} is not made for {where}: skipped")
            if own:
                # Methods that are made for the whole task share these lists, see `by_reference`.
                reference, independent = base, others
                if len(own) < len(subsets):
                    names = {subset.name for subset in own}
                    reference, independent = _under(names, base), _under(names, others)
                try:
                    if not isinstance(method.method, Pictures):
                        _require_heard(method, card, reference, wanted)
                except Unfit as error:
                    if method.name in map(method_name, named):
                        raise
                    skipped.append(f"{method.name} is left out: {error.message}")
                    continue
                job = Job(
                    session,
                    method,
                    task_card,
                    own,
                    images,
                    wanted,
                    reference,
                    independent,
                    own_list,
                )
                unused = not job.shares_noise and not independent
                jobs.append(replace(job, reference=Wanted()) if unused else job)
    if COMPILED.intersection(thrown):
        _refuse_many_shapes(jobs)
    if not jobs:
        raise BadInput(
            f"None of the methods is made for task {task!r}. They are made for: "
            + "; ".join(f"{method.name}: {', '.join(method.card.tasks)}" for method in loaded)
            + ".",
            "See what there is: livo-bench list",
        )
    for note in skipped:
        log.warning(note)
    return session, jobs


def _refuse_for_service(name: str, asked: RunOptions, tasks: Iterable[TaskCard]) -> None:
    """See that nothing is asked for that takes a model's weights or its noise."""
    if asked["dtype"] or asked["switches"]:
        option = f"--dtype {asked['dtype']}" if asked["dtype"] else "--switch"
        raise BadInput(
            f"{option} is for models with weights, and {name!r} is an image service.",
            "Leave it out.",
        )
    if asked["keep"] != ALL:
        raise BadInput(
            f"--keep {asked['keep']} leaves images to be made again, and the image service "
            f"{name!r} draws another one each time.",
            "Leave it out.",
        )
    if control := next((task.name for task in tasks if task.control), None):
        raise BadInput(
            f"Task {control!r} holds each image against the unaligned model's from the same noise, "
            f"and the image service {name!r} draws its own.",
            "Name another: --task bias",
        )


def _load(
    methods: Sequence[str],
    named: Sequence[str],
    card: ModelCard,
    weights: Sequence[str],
    protocol: ProtocolCard,
) -> tuple[list[LoadedMethod], list[str]]:
    """Load methods, each with the weights that it was given.

    Returns:
        The methods, and notes on those that `all` stands for and that have no weights yet, or
            need what the model does not offer.

    Raises:
        BadInput: One does not load, or two are called the same, so that their results could not be
            told apart.
    """
    given = by_method(weights, methods)
    first: dict[str, str] = {}
    loaded, skipped = [], []
    for spec in methods:
        for place in given.get(spec, [None]):
            try:
                require_offered(spec, card)
                method = load_method(spec, card, place, protocol)
            except (Unfit, Untrained) as error:
                if spec in named or place is not None:
                    raise
                skipped.append(f"{spec} is left out: {error.message}")
                continue
            said = spec if place is None else f"{spec}={place}"
            if (other := first.setdefault(method.name, said)) != said:
                raise BadInput(
                    f"{other} and {said} are both called {method.name!r}, so their results could "
                    "not be told apart.",
                    "Leave one out, or rename it: its file, or its folder and `name` in its card.",
                )
            loaded.append(method)
    return loaded, skipped


def _require_heard(
    method: LoadedMethod, card: ModelCard, reference: Wanted, wanted: Wanted
) -> None:
    """See that a model offers what recipes need, whatever their method's card says.

    Args:
        method: Method that resolved the requests.
        card: Card of the model.
        reference: Requests with the plain recipes.
        wanted: Requests with the method's recipes, in the same order.

    Raises:
        Unfit: It does not.
    """
    lacking: Collection[str] = ()
    if card.service is not None:
        # Nothing of a recipe but its text is sent.
        lacking = {
            one.name
            for (_, plain), (_, recipe) in zip(reference, wanted, strict=True)
            for one in fields(Recipe)
            if one.name != TEXT and getattr(plain, one.name) != getattr(recipe, one.name)
        }
    elif card.kind != readable.PIPELINE and method.generator is None:
        families = {recipe.family for recipe in wanted.recipes}
        lacking = {need for family in families for need in family.needs}.difference(card.offers)
    if lacking:
        raise Unfit(
            f"Method {method.name!r} resolved requests to recipes that need of a model: "
            f"{', '.join(sorted(lacking))}. {card.name!r}, a {card.kind}, offers: "
            f"{', '.join(card.offers)}.",
            "Leave it out, or name another model, see livo-bench list models",
        )


def _refuse_many_shapes(jobs: Iterable[Job]) -> None:
    """Kernels are made for one shape of a context, and this layout has one for each length."""
    for job in jobs:
        if any(recipe.layout == "paper" for recipe in job.wanted.recipes):
            raise BadInput(
                f"Method {job.method.name!r} lays out tokens as the released code does, each text "
                "at its own length, and --switch compile and cuda-graphs make kernels for one.",
                "Leave the switch or --protocol released out.",
            )


def _pictures(
    folder: Path,
    name: str,
    tasks: Iterable[tuple[TaskCard, Sequence[Subset]]],
    weights: Sequence[str],
) -> LoadedMethod:
    if weights:
        raise BadInput(
            f"Weights {', '.join(weights)} are for a method, and --images-from {folder} takes "
            "pictures that are there.",
            "Leave one of the two out.",
        )
    return load_pictures(folder, name, [task for task, _ in tasks])


def _open_pictures(
    method: LoadedMethod,
    lists: Iterable[tuple[TaskCard, Sequence[Subset], Sequence[Prompt]]],
    images: int,
    model: ModelCard | None,
) -> None:
    """Open the pictures of all tasks at once: one table may speak of all.

    Args:
        method: The pictures.
        lists: Tasks, subsets of each, and prompts.
        images: Number of images of each prompt.
        model: Model whose evaluation prompts a table may speak of besides; None for no others.
    """
    assert isinstance(method.method, Pictures)
    asked: list[Prompt] = []
    known: list[Prompt] = []
    for _, subsets, listed in lists:
        categories = {category for subset in subsets for category in subset.categories}
        asked += [prompt for prompt in listed if prompt.category in categories]
        known += listed
    if model is not None:
        tasks = [task for task in task_cards().values() if task.prompts(model.scale).is_file()]
        known += [prompt for task in tasks for prompt in read_task_prompts(task, model.scale)]
    method.method.open(asked, images, known)


def by_reference(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """Neighbouring jobs that share their reference: those of one task, as `prepare` orders them."""
    for _, sharing in groupby(jobs, key=lambda job: id(job.reference)):
        yield list(sharing)


def _resolve(
    session: Session,
    requests: Iterable[Request],
    methods: Sequence[LoadedMethod],
    made_for: Mapping[str, Sequence[Subset]],
) -> tuple[Wanted, dict[str, Wanted]]:
    """Resolve requests prompt by prompt, so that no list of all recipes need exist.

    Returns:
        Requests with the unaligned model's recipes, and with each method's in the subsets that it
            is made for, by its name.
    """
    # Subsets ask for the same images.
    recipe_of = cache(session.recipe)
    base, resolved = Wanted(), {method.name: Wanted() for method in methods}
    for principle, some in groupby(requests, lambda request: request.principle):
        suited = [m for m in methods if principle.subset in {s.name for s in made_for[m.name]}]
        for _, of_prompt in groupby(some, lambda request: request.prompt.id):
            asked = list(of_prompt)
            pairs = [(one, recipe_of(one.prompt.text, one.index)) for one in asked]
            base.extend(pairs)
            for method in suited:
                # Pictures have no seed to keep, and do not break the other promises.
                if isinstance(method.method, Pictures):
                    recipes = [method.method.resolve(*pair) for pair in pairs]
                else:
                    recipes = method.resolve_all(pairs)
                resolved[method.name].extend(zip(asked, recipes, strict=True))
    return base, resolved


def _under(subsets: Collection[str], wanted: Wanted) -> Wanted:
    return wanted.where(lambda _, principle: principle.subset in subsets)


def _scorers(
    session: Session, task: TaskCard, subsets: Iterable[Subset]
) -> dict[tuple[str, str], Scorer]:
    scorers: dict[tuple[str, str], Scorer] = {}
    for subset in subsets:
        judge = session.judge(task, subset)
        for category in subset.categories:
            harmless = task.control and category not in subset.attributes
            scorers[subset.name, category] = session.features if harmless else judge
    return scorers


def _prompts(task: TaskCard, model: ModelCard, own: Path | None) -> list[Prompt]:
    if own is None:
        return read_task_prompts(task, model.scale)
    return read_user_prompts(own, task)


def _requests(
    task: TaskCard, subsets: Iterable[Subset], prompts: Sequence[Prompt], indices: Iterable[int]
) -> Iterator[Request]:
    for subset in subsets:
        principle = task.principle(subset.name)
        chosen = [prompt for prompt in prompts if prompt.category in subset.categories]
        if not chosen:
            raise BadInput(
                f"No prompt for {task.name}/{subset.name}: the list has none in its categories "
                f"({', '.join(subset.categories)}).",
                f"Add some, or name the subsets that it is for: --task {task.name}/SUBSET",
            )
        for prompt in chosen:
            for index in indices:
                yield Request(prompt, index, principle)
