"""Settings: where they come from, which wins, what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from uploader.configuration import load
from uploader.errors import SettingsError
from uploader.settings import Settings, parse_duration, parse_size

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CLIENT_CODE", "EDGE_URL", "STATE_URL", "CONFIG", "SECRETS_DIR"):
        monkeypatch.delenv(f"UPLOADER_{name}", raising=False)


def test_flag_wins_over_environment_over_secret_over_file_over_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each source is taken away in turn, and the next one counts."""
    config = tmp_path / "mine.toml"
    config.write_text("workers = 2\n")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "uploader_workers").write_text("3")
    monkeypatch.setenv("UPLOADER_SECRETS_DIR", str(tmp_path / "secrets"))
    monkeypatch.setenv("UPLOADER_WORKERS", "4")
    assert load({"workers": "5"}, config).workers == 5
    assert load({}, config).workers == 4
    monkeypatch.delenv("UPLOADER_WORKERS")
    assert load({}, config).workers == 3
    monkeypatch.delenv("UPLOADER_SECRETS_DIR")
    assert load({}, config).workers == 2
    assert load({}).workers == 32


def test_config_uploader_toml_is_read_where_it_exists(tmp_path: Path) -> None:
    """No flag is needed for the file in its usual place."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "uploader.toml").write_text('client_code = "acme"\n')
    assert load({}).account_code == "acme"


@pytest.mark.parametrize(
    ("flags", "environment", "says"),
    [
        ({}, {"UPLOADER_WORKRES": "3"}, "did you mean UPLOADER_WORKERS?"),
        ({"workers": "0"}, {}, "--workers"),
        ({}, {"UPLOADER_DAILY_CAP": "2000000"}, "UPLOADER_DAILY_CAP"),
        ({}, {"UPLOADER_BULK_CALLS_PER_MINUTE": "51"}, "UPLOADER_BULK_CALLS_PER_MINUTE"),
        ({"wait": "soon"}, {}, "90s, 10m or 3h"),
        ({"max_rejected": "some"}, {}, "a share such as 10%"),
        ({"delimiter": ";;"}, {}, "one ASCII character"),
        ({"timezone": "Mars/Base"}, {}, "Europe/Berlin"),
        ({}, {"UPLOADER_ATTRIBUTES": "tier,city"}, "JSON"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_origin(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, Any], environment: dict[str, str], says: str
) -> None:
    """The message names the flag or variable, and how it is written."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=re.escape(says)):
        load(flags)


def test_a_secret_is_in_no_message_and_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even when another setting is wrong."""
    monkeypatch.setenv("UPLOADER_TOKEN", "hidden")
    assert "hidden" not in repr(load({}))
    with pytest.raises(SettingsError) as refused:
        load({"workers": "many"})
    assert "hidden" not in str(refused.value)


def test_every_setting_of_the_sample_is_one(tmp_path: Path) -> None:
    """With each # taken away, the sample is read without a complaint."""
    sample = (ROOT / "config" / "uploader.sample.toml").read_text("utf-8")
    settings = re.sub(r"^# (\w+ = .*)$", r"\1", sample, flags=re.MULTILINE)
    config = tmp_path / "all.toml"
    config.write_text(settings, "utf-8")
    assert load({}, config).model_fields_set == set(Settings.model_fields)


def test_a_mapping_is_made_of_pairs() -> None:
    """COLUMN=NAME splits at the last equals sign; a leading profile. is stripped once."""
    flags = {
        "id_column": "id",
        "attributes": ["tier", "a=b=c", "profile.x", "y=profile.profile.z"],
        "constants": ["source=crm=2"],
    }
    mapping = load(flags).mapping
    assert mapping.attributes == (
        ("tier", "tier"),
        ("a=b", "c"),
        ("profile.x", "x"),
        ("y", "profile.z"),
    )
    assert mapping.constants == (("source", "crm=2"),)


def test_durations_and_sizes_are_read_with_their_units() -> None:
    """Seconds and bytes come out."""
    assert [parse_duration(text) for text in ("90s", "10m", "3h", "1h30m", "500ms", "2d")] == [
        90,
        600,
        10_800,
        5_400,
        0.5,
        172_800,
    ]
    assert [parse_size(text) for text in ("400MB", "1.5 GB", "20kb")] == [
        400_000_000,
        1_500_000_000,
        20_000,
    ]
