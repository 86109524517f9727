"""Results as a folder for the hub."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from huggingface_hub import DatasetCard, ModelCard
from places import REFERENCE

from livo_bench.errors import BadInput, Incomplete
from livo_bench.report import hub_folder
from livo_bench.report.hub_folder import export_hub
from livo_bench.results.reading import load_results

OF_SD = REFERENCE / "sd"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_hub(tmp_path_factory.mktemp("hub") / "sd", OF_SD)


def test_the_card_names_files_that_are_there_and_says_what_the_numbers_do_not(
    exported: Path,
) -> None:
    card = DatasetCard.load(exported / "README.md")
    for config in card.data.configs:
        patterns = config["data_files"]
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            assert list(exported.glob(pattern)), pattern
    assert {one["config_name"] for one in card.data.configs} >= {"aggregates", "images-bias"}
    assert "| SD | nothing |" in card.text
    assert "Its numbers say nothing of Stable Diffusion or of people" in card.text
    assert not [path for path in exported.rglob("*") if path.suffix in (".png", ".jpg")]


def test_results_in_it_are_those_that_were_there(exported: Path) -> None:
    pd.testing.assert_frame_equal(load_results(exported / "results"), load_results(OF_SD))


def test_the_model_index_has_each_number_with_its_interval_and_count(exported: Path) -> None:
    card = ModelCard.load(exported / "model-index.md")
    found = {(one.dataset_config, one.metric_type): one for one in card.data.eval_results}
    number = found["bias/gender", "D1"]
    of_d1 = "task == 'bias' and subset == 'gender' and category == 'all' and metric == 'D1'"
    [expected] = load_results(OF_SD).query(of_d1).to_dict("records")
    assert number.metric_value == expected["value"]
    assert number.metric_args is not None
    for name in ("low", "high", "floor", "n"):
        assert number.metric_args[name] == expected[name]


def test_a_folder_that_holds_something_and_a_wrong_repository_are_refused(
    exported: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="not empty"):
        export_hub(exported, OF_SD)
    with pytest.raises(BadInput, match="OWNER/NAME"):
        export_hub(tmp_path / "new", OF_SD, push="me")
    with pytest.raises(Incomplete, match="nobody"):
        export_hub(tmp_path / "new", OF_SD, "nobody")
    assert not (tmp_path / "new").exists()


def test_push_uploads_the_folder_or_says_how_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    class Hub:
        def create_repo(self, name: str, **options: Any) -> None:
            if name == "me/denied":
                raise OSError("401")
            calls.append((name, options))

        def upload_folder(self, **options: Any) -> None:
            calls.append(("upload", options))

    monkeypatch.setattr(hub_folder, "HfApi", Hub)
    of_bias = OF_SD / "bias"
    made = export_hub(tmp_path / "pushed", of_bias, push="me/mine")
    assert calls[1][1]["folder_path"] == made
    assert {one["repo_type"] for _, one in calls} == {"dataset"}
    with pytest.raises(BadInput, match="is written") as error:
        export_hub(tmp_path / "denied", of_bias, push="me/denied")
    assert "hf upload me/denied" in str(error.value)
