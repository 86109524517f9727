"""What a run may be asked for besides methods, task and model, each option said once.

The library takes `RunOptions` as keyword arguments, the command line makes its options of the same
record, messages that name a command write it from there, and `run.json` says what moves numbers. So
an option is added here and in the code that uses it, which finds it in `Session.options`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict, cast, get_type_hints

from livo_bench.cards.catalog import RUNS, unknown_name
from livo_bench.cards.declared import OURS
from livo_bench.results.record import Asked
from livo_bench.trackers import TRACKERS


@dataclass(frozen=True, slots=True)
class Option:
    """An option's default, meaning and limits: what it is besides its name and type."""

    default: object
    help: str
    """Meaning of the option in a sentence, as the command line says it."""
    least: int | None = None
    """The smallest number that it may be."""
    choices: Sequence[str] = ()
    """The texts that it may be; any when there are none."""
    place: str = ""
    """Whether a path is that of a `file` or a `folder`."""
    metavar: str | None = None
    """What the command line calls its value; its type when None."""
    one: str = ""
    """What the command line calls one of a list, given as often as there are any."""
    moves: Literal["", "images", "measures"] = ""
    """What it changes if numbers: what images are, or how they are measured. Then `run.json` has it
    under `options` where it is not at its default, and what differs in it shares no table, see
    `conditions`. Seed, precision and so on stand under `settings` instead, as what they came to."""

    def flag(self, name: str) -> str:
        """Spell the option as it is typed."""
        return f"--{(self.one or name).replace('_', '-')}"


class RunOptions(TypedDict, total=False):
    """Keyword arguments of `runner.run` and `runner.plan`; what is not given is at its default."""

    images: Annotated[int, Option(50, "Images per prompt.", least=1)]
    prompts: Annotated[
        Path | None,
        Option(
            None,
            "A prompt list of your own: CSV with the columns text and category.",
            place="file",
        ),
    ]
    images_from: Annotated[
        Path | None,
        Option(
            None,
            "Judge pictures made elsewhere, DIR/PROMPT-ID/INDEX.png; --method is what to call "
            "them.",
            place="folder",
            metavar="DIR",
        ),
    ]
    """See `given_pictures`. The unaligned model's images are made for an independent reference
    alone."""
    seed: Annotated[int, Option(42, "Base seed of all noise.", least=0)]
    device: Annotated[str, Option("auto", "auto, cpu, cuda or cuda:N.")]
    dtype: Annotated[
        str | None,
        Option(
            None,
            "Precision of the generator.  [default: the model card's]",
            choices=("float32", "float16", "bfloat16"),
        ),
    ]
    runs: Annotated[Path, Option(RUNS, "Folder of images, scores and results.", place="folder")]
    keep: Annotated[
        str,
        Option(
            "all",
            "Share of the images whose pixels are kept: all, such as 1%, or scores for none. The "
            "others are made again when they are needed; numbers stay the same.",
            metavar="SHARE",
        ),
    ]
    """See `keeping`. What is kept already stays."""
    weights: Annotated[
        Sequence[str],
        Option(
            (),
            "Trained weights instead of the method's own, a folder or file (LiVO's also "
            "hub:OWNER/NAME/FOLDER); repeatable, METHOD=PLACE where several methods take some.",
            metavar="PLACE",
            one="weights",
        ),
    ]
    """See `given_weights.by_method`."""
    protocol: Annotated[
        str,
        Option(
            OURS,
            "Conventions of the evaluation; livo-bench show released lists the differences.",
            choices=(OURS, "released"),
        ),
    ]
    scorer: Annotated[
        Sequence[str],
        Option(
            (),
            "Another judge for the images that are stored; makes none. Its results lie apart. "
            "Repeatable.",
            metavar="NAME|FOLDER",
            one="scorer",
        ),
    ]
    """See `substitute.put_in`. The results go to `<runs>/rejudged/<judge>`, one judge after the
    other."""
    independent_reference: Annotated[
        bool,
        Option(
            False,
            "Sample the unaligned model from other noise, too, for FID and its floor.",
        ),
    ]
    """Other noise is that of the next `images` indices of each prompt."""
    log_to: Annotated[
        Sequence[str],
        Option(
            (),
            "Show the numbers there, too: tensorboard, wandb or mlflow, each an extra; repeatable.",
            choices=tuple(TRACKERS),
            one="log-to",
        ),
    ]
    """See `trackers`."""
    switches: Annotated[
        Sequence[str],
        Option(
            (),
            "Make the engine faster: channels-last, fuse, compile or cuda-graphs; repeatable. "
            "Images stay the same up to last bits.",
            metavar="NAME",
            one="switch",
        ),
    ]
    """See `acceleration`."""
    executor: Annotated[
        str,
        Option(
            "auto",
            "Who does the work: this process, several, which is the default where there are "
            "several GPUs, or actors of Ray.",
            choices=("auto", "local", "processes", "ray"),
        ),
    ]
    """See `executors.choice`."""
    workers: Annotated[
        int | None,
        Option(None, "Number of processes.  [default: one a GPU, or one a CPU core]", least=1),
    ]
    address: Annotated[
        str | None,
        Option(
            None,
            "Address of a cluster of Ray, HOST:PORT or auto.  [default: Ray is started on this "
            "machine alone]",
            metavar="HOST:PORT",
        ),
    ]
    """See `executors.ray_cluster`."""


def options_of(record: type) -> dict[str, tuple[object, Option]]:
    """The type and the rest of each option of a record, by name."""
    hints = get_type_hints(record, include_extras=True)
    return {name: (hint.__origin__, hint.__metadata__[0]) for name, hint in hints.items()}


OPTIONS: Mapping[str, Option] = {name: one for name, (_, one) in options_of(RunOptions).items()}
"""Every option of a run by name."""


def complete(options: RunOptions) -> RunOptions:
    """Add the defaults of the options that are not given; one text makes a list where some may be.

    Raises:
        UnknownName: One is no option of a run.
    """
    for name in options:
        if name not in OPTIONS:
            raise unknown_name("option of a run", name, OPTIONS)
    given = {
        name: _listed(value) if OPTIONS[name].one else value for name, value in options.items()
    }
    return cast(RunOptions, {name: one.default for name, one in OPTIONS.items()} | given)


def _listed(value: object) -> object:
    """A list of one of a text, of nothing of None."""
    return (value,) if isinstance(value, str) else () if value is None else value


def recorded(options: RunOptions) -> Asked:
    """What `run.json` says of complete options: those that move numbers, where they are not at
    their defaults, as JSON has them."""
    given: Mapping[str, object] = {**options}
    found: dict[str, dict[str, object]] = {"images": {}, "measures": {}}
    for name, one in OPTIONS.items():
        value = given[name]
        if one.moves and value != one.default:
            found[one.moves][name] = list(value) if isinstance(value, tuple) else value
    return Asked(**found)


def as_words(options: RunOptions) -> list[str]:
    """Write options as they are typed; what is at its default needs no words."""
    words: list[str] = []
    complete_options = complete(options)
    for name, option in OPTIONS.items():
        value = complete_options.get(name)
        if value == option.default:
            continue
        flag = option.flag(name)
        if option.one:
            words += [word for one in cast(Sequence[str], value) for word in (flag, one)]
        else:
            words += [flag] if value is True else [flag, str(value)]
    return words
