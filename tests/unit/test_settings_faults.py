"""What wrong settings promise: every fault at once, its source and its remedy, and never a secret's value."""

import traceback
from collections.abc import Mapping
from pathlib import Path

import pytest

from crm_sync.errors import SettingsError
from crm_sync.settings import Settings

ENOUGH_FOR_WEBHOOK = {
    "GENESYS_CLIENT_ID": "our-client",
    "GENESYS_CLIENT_SECRET": "client-secret",
    "PUBLIC_URL": "https://sync.example.com",
    "WEBHOOK_SECRETS": "a-secret-of-some-length",
}


def faults(tmp_path: Path, toml: str = "", environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    if toml:
        (tmp_path / "crm-sync.toml").write_text(toml, encoding="utf-8")
    with pytest.raises(SettingsError) as raised:
        Settings.load(environ or {}, cwd=tmp_path)
    return raised.value.faults


def test_every_fault_is_told_at_once_with_its_source(tmp_path: Path) -> None:
    toml = '[sessions]\nmax_turns = 0\n[targets.crm]\nurl = "${MISSING}"\n'
    told = faults(tmp_path, toml, {"PORT": "many", "DATABASE_URL": "mysql://x/y", "GENESYS_CLIENT_ID": "x"})

    starts = [
        "crm-sync.toml [targets.crm] url refers to ${MISSING}, which is not set; set MISSING or MISSING_FILE",
        "environment GENESYS_CLIENT_ID is set without GENESYS_CLIENT_SECRET",
        "environment DATABASE_URL must begin with postgresql://",
        "environment PORT must be a whole number",
        "crm-sync.toml [sessions] max_turns must be greater than or equal to 1",
        "crm-sync.toml [targets.crm] adapter is missing",
    ]
    assert len(told) == len(starts)
    assert all(fault.startswith(start) for fault, start in zip(told, starts, strict=True))


@pytest.mark.parametrize(
    ("toml", "fault"),
    [
        ("prot = 1", "crm-sync.toml prot is not a setting; did you mean port?"),
        ("[genesys]\nregoin = 1", "crm-sync.toml [genesys] regoin is not a setting; did you mean region?"),
        (
            "[worker]\nx = 1",
            "crm-sync.toml [worker] x is not a setting; use one of lease_seconds, push_deadline_seconds.",
        ),
        ('warnings = ["x"]', "crm-sync.toml warnings is not a setting; use one of database_url, enrich, genesys,"),
        ("worker = 3", "crm-sync.toml worker must be a table."),
        ("genesys = 3", "crm-sync.toml genesys must be a table."),
        ("targets = 3", "crm-sync.toml targets must be a table."),
        ("port = true", "crm-sync.toml port must be a whole number."),
        ("port = 70000", "crm-sync.toml port must be less than or equal to 65535."),
        ('log_format = "xml"', "crm-sync.toml log_format must be 'text' or 'json'."),
        ("[sessions]\nconfidence_min = nan", "crm-sync.toml [sessions] confidence_min must be"),
        (
            "[sessions]\nsentiment_min = -1.5",
            "crm-sync.toml [sessions] sentiment_min must be greater than or equal to -1",
        ),
        ('[sessions]\nhuman_queue_id = ""', "crm-sync.toml [sessions] human_queue_id must not be empty;"),
        ("[worker]\nlease_seconds = 20", "crm-sync.toml [worker] lets a push outlive its lease;"),
        ('[sessions]\nnlu_domain_id = "d"', "crm-sync.toml [sessions] names a domain or a version alone;"),
        (
            "[receive]\ncommit_deadline_seconds = 16",
            "crm-sync.toml [receive] commit_deadline_seconds must be less than",
        ),
        ('[resolution.wrapup_codes]\na = "done"', "crm-sync.toml [resolution.wrapup_codes] a must be 'resolved', "),
        ('[resolution.words]\nA = "resolved"\na = "escalated"', "crm-sync.toml [resolution.words] explains 'a' twice"),
        ('[genesys]\nregion = "https://api.mypurecloud.com"', "crm-sync.toml [genesys] region must be the bare domain"),
        (
            '[[genesys.more_clients]]\nclient_id = "a"\nclient_secret = "b"',
            "crm-sync.toml [genesys] has more_clients without a first one;",
        ),
        (
            '[genesys]\nclient_id = "a"\nclient_secret = "b"\nregistration = "none"\n'
            '[[genesys.more_clients]]\nclient_id = "a"\nclient_secret = "b"',
            "crm-sync.toml [genesys] names one OAuth client twice",
        ),
        (
            '[genesys]\nclient_id = "a"\nclient_secret = "b"\nregistration = "none"\n'
            '[[genesys.more_clients]]\nclient_id = "c"\nclient_secret = "d"\nclientid = "e"',
            "crm-sync.toml [genesys.more_clients], item 1 clientid is not a setting; did you mean client_id?",
        ),
        ('[genesys]\nregistration = "triger"', "crm-sync.toml [genesys] registration must be 'webhook', 'trigger' or"),
        ('[genesys.triggers]\nkind = ["acw"]', "crm-sync.toml [genesys.triggers] kind is not a setting; did you mean"),
        (
            '[genesys.triggers]\nkinds = ["acw", "customer.ends"]',
            "crm-sync.toml [genesys.triggers] kinds has 'customer.ends', which is no kind of event; did you mean "
            "customer.end?",
        ),
        ('[genesys.triggers]\nkinds = ["acw", "acw"]', "crm-sync.toml [genesys.triggers] kinds names a kind twice;"),
        ("[genesys.triggers]\nkinds = []", "crm-sync.toml [genesys.triggers] kinds must not be empty;"),
        ('[genesys.triggers]\ndata_format = "XML"', "crm-sync.toml [genesys.triggers] data_format must be"),
        (
            '[genesys.triggers]\nkinds = ["acw"]\nworkflows = {"acd.end" = "w-1"}',
            "crm-sync.toml [genesys.triggers] has a workflow for 'acd.end', which is not in kinds;",
        ),
        (
            '[genesys.triggers]\nkinds = ["acw", "acd.end"]\nworkflows = {"acd.end" = "w-1"}',
            "crm-sync.toml [genesys.triggers] names no workflow for acw; add workflow_id",
        ),
        ('webhook_secrets = ["a-secret-of-some-length", 3]', "crm-sync.toml webhook_secrets, item 2 must be text."),
    ],
)
def test_a_wrong_setting_is_told_in_words(toml: str, fault: str, tmp_path: Path) -> None:
    (told,) = faults(tmp_path, toml)

    assert told.startswith(fault)


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ('"conversation"', "[targets.crm.fields.Name] from is no field of a closure; did you mean conversation_id?"),
        ('"attributes."', "[targets.crm.fields.Name] from is no field of a closure;"),
        ('{ form = "closed" }', "[targets.crm.fields.Name] form is not a setting; did you mean from?"),
        ('{ from = "closed", constant = 1 }', "[targets.crm.fields.Name] needs either from or constant;"),
        ("{ default = 1 }", "[targets.crm.fields.Name] needs either from or constant;"),
        ("{ constant = 1, default = 2 }", "[targets.crm.fields.Name] has a constant beside map or default;"),
        ("{ constant = 2026-01-01 }", "[targets.crm.fields.Name] constant must be text, a number, true, false,"),
        ("3", "[targets.crm.fields] Name must be the name of a closure field in quotes,"),
    ],
)
def test_a_wrong_field_rule_is_told_in_words(rule: str, fault: str, tmp_path: Path) -> None:
    (told,) = faults(tmp_path, f'[targets.crm]\nadapter = "x"\n[targets.crm.fields]\nName = {rule}\n')

    assert told.startswith(f"crm-sync.toml {fault}")


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        ('"${lost"', "[targets.crm] url has a ${ that names no variable; write ${NAME}."),
        ('"${not a name}"', "[targets.crm] url has a ${ that names no variable;"),
        ('{ a = ["", "${GONE}"] }', "[targets.crm.url] a, item 2 refers to ${GONE}, which is not set;"),
        ("2026-01-01", "[targets.crm] url must be text, a finite number, true, false, a list or a table;"),
        ("inf", "[targets.crm] url must be text, a finite number,"),
        ('"${TWICE}"', "[targets.crm] url refers to ${TWICE}, but environment TWICE and TWICE_FILE are both set;"),
    ],
)
def test_a_wrong_target_option_is_told_in_words(option: str, fault: str, tmp_path: Path) -> None:
    environ = {"TWICE": "a", "TWICE_FILE": "b"}
    (told,) = faults(tmp_path, f'[targets.crm]\nadapter = "x"\nurl = {option}\n', environ)

    assert told.startswith(f"crm-sync.toml {fault}")


@pytest.mark.parametrize("name", ["Odoo", "-odoo", '"a b"', '""', "a" * 64])
def test_a_target_name_that_would_not_fit_a_url_is_refused(name: str, tmp_path: Path) -> None:
    (told,) = faults(tmp_path, f'[targets.{name}]\nadapter = "x"\n')

    assert "is no name for a target" in told


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:canary@h/x",
        "postgresql+psycopg2://h/x",
        "postgresql://",
        "postgresql://u:canary/x@h/db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////x.db?mode=ro",
        "canary",
    ],
)
def test_a_database_we_cannot_use_is_refused_without_quoting_it(url: str, tmp_path: Path) -> None:
    (told,) = faults(tmp_path, environ={"DATABASE_URL": url})

    assert told.startswith("environment DATABASE_URL ")
    assert "canary" not in told


@pytest.mark.parametrize(
    "url",
    [
        "sync.example.com",
        "ftp://x",
        "https://",
        "https://x/?q",
        "https://x/#f",
        "https://u@x",
        "https://x:99999",
        "https://x y",
    ],
)
def test_a_public_url_must_be_a_plain_absolute_one(url: str, tmp_path: Path) -> None:
    (told,) = faults(tmp_path, environ={**ENOUGH_FOR_WEBHOOK, "PUBLIC_URL": url})

    assert told.startswith("environment PUBLIC_URL must be an absolute http or https URL")


@pytest.mark.parametrize("missing", ["PUBLIC_URL", "WEBHOOK_SECRETS"])
def test_a_webhook_needs_an_address_and_a_secret(missing: str, tmp_path: Path) -> None:
    environ = {name: value for name, value in ENOUGH_FOR_WEBHOOK.items() if name != missing}
    (told,) = faults(tmp_path, environ=environ)

    assert told.startswith(f"{missing} is not set, but registering a webhook")
    assert "GENESYS_REGISTRATION=none" in told


@pytest.mark.parametrize("way", ["webhook", "trigger"])
def test_a_registration_asked_for_without_credentials_is_a_fault(way: str, tmp_path: Path) -> None:
    environ = {**ENOUGH_FOR_WEBHOOK, "GENESYS_CLIENT_ID": "", "GENESYS_CLIENT_SECRET": "", "GENESYS_WORKFLOW_ID": "w"}
    (told,) = faults(tmp_path, environ={**environ, "GENESYS_REGISTRATION": way})

    assert told.startswith(f"environment GENESYS_REGISTRATION is {way}, which needs credentials;")


def test_triggers_need_a_workflow_and_neither_an_address_nor_a_secret(tmp_path: Path) -> None:
    environ = {name: ENOUGH_FOR_WEBHOOK[name] for name in ("GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET")}
    environ |= {"GENESYS_REGISTRATION": "trigger"}
    (told,) = faults(tmp_path, environ=environ)

    assert told.startswith("environment GENESYS_REGISTRATION is trigger, which needs a workflow to start;")
    settings = Settings.load(environ | {"GENESYS_WORKFLOW_ID": "w-1"}, cwd=tmp_path)
    assert (settings.genesys.triggers.workflow_id, settings.genesys.dialect) == ("w-1", "platform")


def test_a_client_secret_without_its_id_is_a_fault(tmp_path: Path) -> None:
    (told,) = faults(tmp_path, environ={"GENESYS_CLIENT_SECRET": "canary"})

    assert told == "environment GENESYS_CLIENT_SECRET is set without GENESYS_CLIENT_ID; set both or neither."


def test_a_short_webhook_secret_is_named_by_its_place_only(tmp_path: Path) -> None:
    (told,) = faults(tmp_path, environ={"WEBHOOK_SECRETS": "exactly-16-chars,canary-of-15-ch"[:-1]})

    assert "number 2)" in told and "fewer than 16 characters" in told
    assert "canary" not in told


def test_a_secret_may_come_from_a_file_and_loses_only_its_last_newline(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(" line one\nline two \n", encoding="utf-8")
    environ = {**ENOUGH_FOR_WEBHOOK, "GENESYS_CLIENT_SECRET": "", "GENESYS_CLIENT_SECRET_FILE": "secret"}
    secret = Settings.load(environ, cwd=tmp_path).genesys.client_secret

    assert secret is not None
    assert secret.get_secret_value() == " line one\nline two "


def test_a_fault_in_a_secret_file_is_told_under_the_name_of_its_variable(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n", encoding="utf-8")
    (tmp_path / "binary").write_bytes(b"canary\xff")
    (tmp_path / "short").write_text("canary", encoding="utf-8")
    environ = {**ENOUGH_FOR_WEBHOOK, "GENESYS_CLIENT_SECRET": ""}

    for path, reason in [("nowhere", "No such file"), ("empty", "names an empty file"), ("binary", "UTF-8 text file")]:
        (told,) = faults(tmp_path, environ={**environ, "GENESYS_CLIENT_SECRET_FILE": path})
        assert told.startswith("environment GENESYS_CLIENT_SECRET_FILE")
        assert reason in told and "canary" not in told
    (told,) = faults(tmp_path, environ={"WEBHOOK_SECRETS_FILE": "short"})
    assert told.startswith("environment WEBHOOK_SECRETS_FILE has a secret (number 1)")


def test_a_secret_given_twice_is_a_fault(tmp_path: Path) -> None:
    (told,) = faults(tmp_path, environ={**ENOUGH_FOR_WEBHOOK, "WEBHOOK_SECRETS_FILE": "anything"})

    assert told == "environment WEBHOOK_SECRETS and WEBHOOK_SECRETS_FILE are both set; keep one of them."


def test_a_settings_file_that_cannot_be_read_is_the_only_thing_told_of_it(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("port = \n", encoding="utf-8")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    environ = {"GENESYS_CLIENT_ID": "x"}

    for name, reason in [("gone.toml", "No such file"), ("bad.toml", "line 1"), ("latin.toml", "not UTF-8")]:
        (told,) = faults(tmp_path, environ={**environ, "CRM_SYNC_CONFIG": name})
        assert told.startswith(name) and reason in told


def test_no_traceback_of_a_settings_error_quotes_a_value(tmp_path: Path) -> None:
    environ = {
        "GENESYS_CLIENT_SECRET": "canary",
        "WEBHOOK_SECRETS": "canary",
        "DATABASE_URL": "canary",
        "PORT": "canary",
    }
    with pytest.raises(SettingsError) as raised:
        Settings.load(environ, cwd=tmp_path)

    assert len(raised.value.faults) == 4
    assert "canary" not in "".join(traceback.format_exception(raised.value))
