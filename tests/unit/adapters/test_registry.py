"""Adapters are found by their names, ours and those of other packages, and built with every fault told."""

import sys
from pathlib import Path

import pytest

from crm_sync.adapters import registry
from crm_sync.adapters.contract import Adapter
from crm_sync.adapters.memory import MemoryAdapter
from crm_sync.errors import SettingsError
from crm_sync.settings_targets import TargetSettings

THIRD_PARTY = """
from crm_sync.adapters.memory import MemoryAdapter

class Fitting(MemoryAdapter):
    name = "fitting"

class Old(MemoryAdapter):
    api_version = 0
"""
ENTRY_POINTS = """
[crm_sync.adapters]
fitting = third_party_adapters:Fitting
memory = third_party_adapters:Fitting
needy = module_that_nobody_installed:Adapter
old = third_party_adapters:Old
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package that offers adapters."""
    (tmp_path / "third_party_adapters.py").write_text(THIRD_PARTY)
    info = tmp_path / "third_party-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "third_party_adapters", raising=False)


@pytest.mark.parametrize("name", ["jsonl", "memory", "sql", "webhook"])
def test_our_own_are_found_by_their_names(name: str) -> None:
    assert registry.load(name).name == name


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="no adapter 'salesfroce'; known are jsonl, memory, sql, webhook"):
        registry.load("salesfroce")


@pytest.mark.usefixtures("installed")
def test_another_package_can_offer_one() -> None:
    assert registry.load("fitting").name == "fitting"
    assert "fitting" in registry.names()


@pytest.mark.usefixtures("installed")
def test_another_package_cannot_take_the_name_of_ours() -> None:
    assert registry.load("memory") is MemoryAdapter


@pytest.mark.usefixtures("installed")
def test_one_for_another_version_of_the_contract_is_refused() -> None:
    with pytest.raises(SettingsError, match="'old' was written for contract 0, this version has 1"):
        registry.load("old")


@pytest.mark.usefixtures("installed")
def test_one_that_lacks_a_module_says_which() -> None:
    with pytest.raises(SettingsError, match="'needy' needs the Python module 'module_that_nobody_installed'"):
        registry.load("needy")


def test_a_target_is_built_from_its_settings() -> None:
    adapter: Adapter = registry.build("crm", TargetSettings(adapter="memory", options={"max_batch": 7}))

    assert isinstance(adapter, MemoryAdapter)
    assert adapter.capabilities.max_batch == 7


def test_every_fault_names_its_target() -> None:
    with pytest.raises(SettingsError) as caught:
        registry.build("crm", TargetSettings(adapter="webhook", options={"secrets": "nonsense", "colour": "red"}))

    assert [fault.split(" ")[:2] for fault in caught.value.faults] == [
        ["[targets.crm]", "url"],
        ["[targets.crm]", "secrets.0"],
        ["[targets.crm]", "colour"],
    ]
    with pytest.raises(SettingsError, match=r"\[targets\.crm\] there is no adapter"):
        registry.build("crm", TargetSettings(adapter="nothing"))
