"""How fast a target may be pushed to and what it is owed, as the settings say it; each fault is told in words."""

from pathlib import Path

import pytest

from crm_sync.errors import SettingsError
from crm_sync.pace import Rate
from crm_sync.settings import Settings
from crm_sync.settings_targets import TargetSettings
from crm_sync.when import When


def target(tmp_path: Path, toml: str) -> TargetSettings:
    """Return the target `crm` with these lines in its table."""
    (tmp_path / "crm-sync.toml").write_text(f'[targets.crm]\nadapter = "memory"\n{toml}\n', encoding="utf-8")
    return Settings.load({}, cwd=tmp_path).targets["crm"]


@pytest.mark.parametrize(
    ("toml", "pace"),
    [
        ("", None),
        ("rate = 5", Rate(per_second=5, burst=5)),
        ("rate = 5.9", Rate(per_second=5.9, burst=5)),
        ("rate = 0.5", Rate(per_second=0.5, burst=1)),
        ("rate = 0.001", Rate(per_second=0.001, burst=1)),
        ("rate = 100_000", Rate(per_second=100_000, burst=100_000)),
        ("rate = 5\nburst = 1", Rate(per_second=5, burst=1)),
        ("rate = 5\nburst = 50", Rate(per_second=5, burst=50)),
    ],
)
def test_a_burst_is_a_seconds_worth_unless_told(tmp_path: Path, toml: str, pace: Rate | None) -> None:
    assert target(tmp_path, toml).pace == pace


@pytest.mark.parametrize(
    ("toml", "when"),
    [
        ("", When()),
        ("[targets.crm.when]", When()),
        ('when = { media = ["voice", "message"] }', When(media=("voice", "message"))),
        (
            '[targets.crm.when]\ndirection = ["outbound"]\nqueue = ["q1", "q2"]\ndivision = ["d1"]',
            When(direction=("outbound",), queue=("q1", "q2"), division=("d1",)),
        ),
    ],
)
def test_what_a_target_is_owed_is_read_as_it_is_written(tmp_path: Path, toml: str, when: When) -> None:
    assert target(tmp_path, toml).when.as_when() == when


def test_two_pushes_at_a_time_are_the_default(tmp_path: Path) -> None:
    assert target(tmp_path, "").concurrency == 2
    assert target(tmp_path, "concurrency = 7").concurrency == 7


@pytest.mark.parametrize(
    ("toml", "fault"),
    [
        ("rate = 0", "[targets.crm] rate must be greater than or equal to 0.001."),
        ("rate = 0.0009", "[targets.crm] rate must be greater than or equal to 0.001."),
        ("rate = -1", "[targets.crm] rate must be greater than or equal to 0.001."),
        ("rate = 100_001", "[targets.crm] rate must be less than or equal to 100000."),
        ("rate = inf", "[targets.crm] rate must be a finite number."),
        ("rate = nan", "[targets.crm] rate must be a finite number."),
        ('rate = "5"', "[targets.crm] rate must be a valid number."),
        ("rate = true", "[targets.crm] rate must be a valid number."),
        ("rate = 5\nburst = 0", "[targets.crm] burst must be greater than or equal to 1."),
        ("rate = 5\nburst = 1.5", "[targets.crm] burst must be a whole number."),
        ('rate = 5\nburst = "5"', "[targets.crm] burst must be a whole number."),
        ("burst = 5", "[targets.crm] has a burst without a rate; add rate, or remove burst."),
        ("concurrency = 0", "[targets.crm] concurrency must be greater than or equal to 1."),
        ("batch = 0", "[targets.crm] batch must be greater than or equal to 1."),
        ('when = "voice"', "[targets.crm] when must be a table."),
        ("[targets.crm.when]\nmedia = []", "[targets.crm.when] media must not be empty; give a value or remove it."),
        (
            '[targets.crm.when]\nmedia = ["voice", "fone"]',
            "[targets.crm.when] media names 'fone'; use one of callback, chat, cobrowse, email, internalmessage,"
            " message, screenmonitoring, screenshare, video, voice.",
        ),
        ('[targets.crm.when]\nmedia = ["voic"]', "[targets.crm.when] media names 'voic'; did you mean voice?"),
        ('[targets.crm.when]\nmedia = ["VOICE"]', "[targets.crm.when] media names 'VOICE'; "),
        (
            '[targets.crm.when]\ndirection = ["inbond"]',
            "[targets.crm.when] direction names 'inbond'; did you mean inbound?",
        ),
        ('[targets.crm.when]\nqueue = [""]', "[targets.crm.when] queue, item 1 must not be empty;"),
        ('[targets.crm.when]\ndivision = ["d", 3]', "[targets.crm.when] division, item 2 must be text."),
        (
            '[targets.crm.when]\nqueues = ["q"]',
            "[targets.crm.when] queues is not a setting; did you mean queue?",
        ),
    ],
)
def test_a_fault_is_told_in_words(tmp_path: Path, toml: str, fault: str) -> None:
    with pytest.raises(SettingsError) as told:
        target(tmp_path, toml)

    (sentence,) = told.value.faults
    assert sentence.startswith(f"crm-sync.toml {fault}")


@pytest.mark.parametrize("name", ["media", "queue"])
def test_a_single_word_where_a_list_belongs_is_told_in_words(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError) as told:
        target(tmp_path, f'[targets.crm.when]\n{name} = "voice"')

    (sentence,) = told.value.faults
    assert sentence == f"crm-sync.toml [targets.crm.when] {name} must be a list."


@pytest.mark.parametrize("rate", ["0.001", "1", "100_000"])
def test_whatever_burst_the_settings_allow_can_be_reckoned_with(tmp_path: Path, rate: str) -> None:
    try:
        pace = target(tmp_path, f"rate = {rate}\nburst = {10**15}").pace
    except SettingsError as told:
        assert "burst must be less than or equal to" in str(told)
    else:
        assert pace is not None and pace.burst * pace.interval > pace.interval
