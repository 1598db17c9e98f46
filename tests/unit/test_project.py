"""The frame of the project: one version, pinned requirements, what the wheel carries, and how tests are skipped."""

import re
import socket
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import crm_sync
from tests.conftest import program, skip_or_fail

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETS = ["requirements.txt", "requirements-dev.txt"]


def test_the_version_is_written_once() -> None:
    assert metadata.version("crm-sync") == crm_sync.__version__
    assert "version" not in PROJECT["project"]


def test_the_command_and_the_adapters_are_declared() -> None:
    commands = metadata.entry_points(group="console_scripts", name="crm-sync")
    adapters = metadata.entry_points(group="crm_sync.adapters")

    assert {command.value for command in commands} == {"crm_sync.cli:main"}
    assert {adapter.name for adapter in adapters} >= {"webhook", "sql", "jsonl", "memory"}


@pytest.mark.parametrize("name", SETS)
def test_every_requirement_is_pinned_with_hashes(name: str) -> None:
    text = (ROOT / name).read_text()
    requirements = [line for line in text.split("\n") if line and not line.startswith(("#", " "))]

    assert requirements
    assert all(re.match(r"[a-z0-9-]+==\S+ (;.+ )?\\$", line) for line in requirements)
    assert len(re.findall(r"\\\n    --hash=sha256:", text)) >= len(requirements)


@pytest.mark.parametrize("name", SETS)
def test_every_dependency_is_pinned_within_its_range(name: str) -> None:
    pins = _pins(name)
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["build"]]
    if name == "requirements-dev.txt":
        wanted += PROJECT["dependency-groups"]["dev"] + PROJECT["project"]["optional-dependencies"]["mysql"]

    for dependency in map(Requirement, wanted):
        assert pins[canonicalize_name(dependency.name)] in dependency.specifier, dependency


def test_tests_run_with_the_versions_that_are_deployed() -> None:
    assert _pins("requirements.txt").items() <= _pins("requirements-dev.txt").items()


def test_the_wheel_carries_the_package_and_its_migrations(tmp_path: Path) -> None:
    built = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path)))
    with zipfile.ZipFile(built) as wheel:
        names = set(wheel.namelist())

    assert {"crm_sync/__init__.py", "crm_sync/migrations/env.py", "crm_sync/migrations/alembic.ini"} <= names
    assert any(name.startswith("crm_sync/migrations/versions/") for name in names)
    assert not any(name.startswith(("tests/", "migrations/")) for name in names)


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    folders = [ROOT / name for name in ("crm_sync", "migrations", "tests")]
    lengths = {path: len(path.read_text().splitlines()) for folder in folders for path in folder.rglob("*.py")}

    assert {path: length for path, length in lengths.items() if length > 400} == {}


def test_a_skip_is_spoken_elsewhere_and_a_failure_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such server"):
        skip_or_fail("no such server")

    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no such server"):
        skip_or_fail("no such server")


def test_a_missing_program_is_a_skip_and_a_present_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program is not installed"):
        program("no-such-program")

    assert Path(program("no-such-program", "sh")).name == "sh"


def test_a_unit_test_cannot_open_a_socket() -> None:
    with pytest.warns(UserWarning), pytest.raises(RuntimeError, match="tried to use socket"):
        socket.socket(socket.AF_INET)


def _pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))
