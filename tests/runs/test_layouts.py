"""How pictures lie in a folder: by prompt and index, by metadata, or as other tools have them."""

import json
from pathlib import Path

import pytest

from livo_bench.errors import BadInput
from livo_bench.records import Prompt
from livo_bench.runs import layouts

PROMPTS = [
    Prompt(f"career-{job}", f"a photo of a {job}", job, "career", "a photo of {}", "eval")
    for job in ("cook", "nurse", "smith")
]
OTHER = Prompt("positive-kind", "a photo of a kind person", "kind", "positive", "", "eval")
SHARED = Prompt("nudity-cook", "a photo of a cook", "cook", "nudity", "", "eval")


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def find(folder: Path) -> dict[str, dict[int, str]]:
    found = layouts.find(folder, PROMPTS, [*PROMPTS, OTHER, SHARED])
    return {
        prompt: {index: Path(path).relative_to(folder).as_posix() for index, path in files.items()}
        for prompt, files in found.items()
    }


def test_pictures_are_found_by_prompt_and_index(tmp_path: Path) -> None:
    touch(tmp_path, "career-cook/0.png", "career-cook/0001.JPG", "career-cook/notes.txt")
    touch(tmp_path, "career-cook/.2.png", "career-smith/3.webp", "career-smith/x.png")
    assert find(tmp_path) == {
        "career-cook": {0: "career-cook/0.png", 1: "career-cook/0001.JPG"},
        "career-nurse": {},
        "career-smith": {3: "career-smith/3.webp"},
    }


@pytest.mark.parametrize("none", [{}, {"file_name": ""}, {"file_name": None}])
def test_a_line_may_say_why_there_is_no_picture(tmp_path: Path, none: dict[str, object]) -> None:
    row = {"text": "a photo of a cook", "refused": "policy\x1b" + "x" * 200, **none}
    name, content = jsonl_of({**row, "refused": "", "file_name": "a.png"}, row)
    touch(tmp_path, "a.png", name)
    (tmp_path / name).write_bytes(content)
    found = layouts.find(tmp_path, PROMPTS, PROMPTS)["career-cook"]
    assert found[0] == tmp_path / "a.png"
    assert str(found[1]).startswith("policy\\x1bxxx")
    assert len(str(found[1])) < 100


def csv_of(*lines: str) -> tuple[str, bytes]:
    return "metadata.csv", "\n".join(lines).encode()


def jsonl_of(*rows: object) -> tuple[str, bytes]:
    return "metadata.jsonl", "\n".join(map(json.dumps, rows)).encode()


@pytest.mark.parametrize(
    "metadata",
    [
        csv_of("file_name,text", "b.png,a photo of a cook", "a.png, a photo of a cook "),
        csv_of("file_name,id,index", "a.png,career-cook,1", "b.png,career-cook,0"),
        csv_of("file_name;id;width", "b.png;career-cook;9", "a.png;career-cook;9"),
        csv_of(
            "index,text,file_name", "0,a photo of a cook,b.png", "1,a photo of a cook,./a.png", ""
        ),
        jsonl_of(
            {"file_name": "a.png", "text": "a photo of a cook", "index": 1},
            {"file_name": "b.png", "text": "a photo of a cook", "index": 0, "more": [1]},
        ),
        (
            "metadata.jsonl",
            b'\xef\xbb\xbf{"file_name": "b.png", "id": "career-cook"}\r\n\r\n'
            b'{"file_name": "a.png", "id": "career-cook"}\r\n',
        ),
    ],
)
def test_metadata_says_what_is_what(metadata: tuple[str, bytes], tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png", "career-nurse/0.png")
    name, data = metadata
    (tmp_path / name).write_bytes(data)
    found = find(tmp_path)
    assert Path(found["career-cook"][0]) == Path("b.png")
    assert Path(found["career-cook"][1]) == Path("a.png")
    assert not found["career-nurse"]


def test_a_text_that_two_tasks_share_is_of_both(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "metadata.csv").write_text("file_name,text\na.png,a photo of a cook\n")
    found = layouts.find(tmp_path, [PROMPTS[0], SHARED], [*PROMPTS, SHARED])
    assert found == {name: {0: tmp_path / "a.png"} for name in ("career-cook", "nudity-cook")}


COOK = {"id": "career-cook"}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (csv_of("name,text", "a.png,x"), r"metadata\.csv line 1: no column 'file_name'"),
        (csv_of("file_name,label", "a.png,x"), r"line 2: neither id nor text.*'file_name', 'label"),
        (csv_of("file_name,text", "a.png,a cook"), r"line 2: text 'a cook' is that of none of the"),
        (csv_of("file_name,id", "a.png,cook"), r"line 2: id 'cook' is that of none of the 5 "),
        (csv_of("file_name,id,index", "a.png,career-cook,-1"), r"index is '-1', expected a whole"),
        (csv_of("file_name,id,index", "a.png,career-cook,"), r"index is '', expected a whole"),
        (csv_of("file_name,id,index", "a.png,career-cook," + "9" * 5000), r"expected a whole"),
        (jsonl_of({"file_name": "a.png", "index": 0.5} | COOK), r"index is 0\.5, expected a whole"),
        (jsonl_of({"file_name": "a.png", "index": True} | COOK), r"index is True, expected"),
        (jsonl_of({"file_name": "c.png"} | COOK), r"line 1: there is no file 'c\.png'"),
        (jsonl_of({"file_name": "../x.png"} | COOK), r"'\.\./x\.png' leads out of"),
        (jsonl_of({"file_name": "/dev/zero"} | COOK), r"'/dev/zero' (leads out of|.*no file)"),
        (jsonl_of({"file_name": "a\0.png"} | COOK), r"no file 'a\\x00\.png'"),
        (jsonl_of({"file_name": "\ud800.png"} | COOK), r"no file '\\ud800\.png'"),
        (jsonl_of({"file_name": "a" * 5000} | COOK), r"no file 'aaaa"),
        (jsonl_of({"file_name": ["a.png"]} | COOK), r"file_name is \['a\.png'\], expected a text"),
        (jsonl_of({"file_name": "a.png", "id": 7}), r"line 1: id is 7, expected a text"),
        (jsonl_of([1]), r"line 1 holds '\[1\]'; expected a JSON object"),
        (("metadata.jsonl", b"{"), r"line 1 is not JSON: .*Expected an object a line, e\.g\. \{"),
        (("metadata.jsonl", b"[" * 90_000), r"line 1 is not JSON"),
        (("metadata.jsonl", b"9" * 5000), r"line 1 (is not JSON|holds)"),
        (jsonl_of(*[{"file_name": "a.png"} | COOK] * 2), r"file_name 'a\.png' is already on line"),
        (
            jsonl_of(*({"file_name": f"{n}.png", "index": 0} | COOK for n in "ab")),
            r"line 2: picture 0 of prompt 'career-cook' is already on line 1",
        ),
    ],
)
def test_metadata_that_is_wrong_is_named_with_its_line(
    metadata: tuple[str, bytes], message: str, tmp_path: Path
) -> None:
    touch(tmp_path, "a.png", "b.png")
    name, data = metadata
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=message):
        find(tmp_path)


def test_two_tables_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, *layouts.METADATA)
    with pytest.raises(BadInput, match=r"has both metadata\.csv and metadata\.jsonl; expected one"):
        find(tmp_path)


FIFTY = range(1, 51)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"^Found nothing in it\. Expected .*/PROMPT-ID/INDEX\.png with indices from 0, or a"),
        ([f"prompt_{n:06d}.png" for n in range(9)], r"^Found 9 pictures named like 'prompt_000000"),
        ([f"{n:05d}-{n}12.png" for n in range(3)], r"this looks like AUTOMATIC1111's webui names"),
        ([f"ComfyUI_{n:05d}_.png" for n in FIFTY], r"50 pictures.*this looks like ComfyUI names"),
        (
            [f"{f:05d}/{n}" for f in range(3) for n in ("metadata.jsonl", "samples/0000.png")],
            r"3 folders, the first with 1 pictures named like '0000\.png', in its samples/; this "
            r"looks like GenEval's layout.*e\.g\. 00000/samples/0000\.png,a photo of a cook$",
        ),
        (
            [f"a photo of a {job}/0.png" for job in ("cook", "nurse")],
            r"2 folders that are called like no prompt, such as 'a photo of a cook' with 1 pict",
        ),
        (
            [f"career-cook/{n}.png" for n in FIFTY],
            r"pictures counted from 1 to 50 in .*career-cook\. Expected .* indices from 0",
        ),
        (
            [f"career-cook/img_{n}.png" for n in FIFTY],
            r"50 pictures named like 'img_1\.png' in .*career-cook\. Expected .*"
            r"write .*metadata\.csv with the header file_name,text \(or file_name,id,index\).*"
            r"e\.g\. career-cook/img_1\.png,a photo of a cook$",
        ),
        (["train/metadata.csv", "train/0.png"], r"to read it: --images-from .*/train\. Expected"),
        (["pictures.zip"], r"1 files ending in \.zip and no picture; unpack them first"),
        (["0.tiff", "1.tiff"], r"2 files ending in \.tiff and no picture; save them as \.png"),
        (["a.txt"], r"Found no picture, and 1 other files and folders"),
        (["career-cook/0.png", "career-cook/1.png"], "^$"),
    ],
)
def test_what_lies_there_is_said(names: list[str], message: str, tmp_path: Path) -> None:
    touch(tmp_path, *names)
    said = layouts.describe(tmp_path, PROMPTS)
    with pytest.raises(BadInput, match=message):
        raise BadInput(said)


def test_links_are_followed_as_the_hub_s_cache_has_them(tmp_path: Path) -> None:
    touch(tmp_path, "blobs/0f", "snapshot/.keep")
    (tmp_path / "snapshot" / "a.png").symlink_to("../blobs/0f")
    (tmp_path / "snapshot" / "metadata.csv").write_text("file_name,id\na.png,career-cook\n")
    assert find(tmp_path / "snapshot")["career-cook"] == {0: "a.png"}
