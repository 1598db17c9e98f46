"""What the settings promise: where each value comes from, what follows from it, and that no secret is shown."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from crm_sync.errors import SettingsError
from crm_sync.genesys import kinds
from crm_sync.resolution import Status
from crm_sync.settings import Settings
from crm_sync.settings_genesys import GenesysSettings, TriggerSettings
from crm_sync.settings_targets import FieldRule, TargetSettings

SECRET = "a-secret-of-some-length"
CREDENTIALS = {
    "GENESYS_CLIENT_ID": "our-client",
    "GENESYS_CLIENT_SECRET": "client-secret",
    "PUBLIC_URL": "https://sync.example.com/",
    "WEBHOOK_SECRETS": SECRET,
}


def load(tmp_path: Path, toml: str = "", environ: Mapping[str, str] | None = None) -> Settings:
    if toml:
        (tmp_path / "crm-sync.toml").write_text(toml, encoding="utf-8")
    return Settings.load(environ or {}, cwd=tmp_path)


def test_nothing_at_all_is_enough_to_start_with(tmp_path: Path) -> None:
    settings = load(tmp_path)

    assert settings.database_url == f"sqlite:///{tmp_path}/var/crm-sync.db"
    assert settings.genesys.registration == "none"
    assert (settings.log_format, settings.port, settings.targets) == ("text", 8000, {})
    (warning,) = settings.warnings
    assert "GENESYS_CLIENT_ID" in warning


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    toml = 'port = 1\nlog_format = "json"\n[genesys]\nregion = "mypurecloud.ie"\norganization_id = "org"\n'
    settings = load(tmp_path, toml, {"PORT": "9000", "GENESYS_REGION": "usw2.pure.cloud"})

    assert (settings.port, settings.log_format) == (9000, "json")
    assert (settings.genesys.region, settings.genesys.organization_id) == ("usw2.pure.cloud", "org")


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    settings = load(tmp_path, "port = 9000\n", {"PORT": "", "DATABASE_URL": "", "GENESYS_CLIENT_ID": ""})

    assert settings.port == 9000
    assert settings.genesys.client_id is None


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        ("postgres://u:p@db:5432/crm", "postgresql+psycopg://u:p@db:5432/crm"),
        ("postgresql://db/crm?sslmode=require", "postgresql+psycopg://db/crm?sslmode=require"),
        ("postgresql+psycopg://db/crm", "postgresql+psycopg://db/crm"),
        ("sqlite:////srv/crm.db", "sqlite:////srv/crm.db"),
    ],
)
def test_a_database_url_is_put_in_the_form_of_the_engine(given: str, understood: str, tmp_path: Path) -> None:
    assert load(tmp_path, environ={"DATABASE_URL": given}).database_url == understood
    assert Settings(database_url=given).database_url == understood


def test_an_sqlite_path_is_relative_to_where_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "crm.toml").write_text('database_url = "sqlite:///mine.db"', encoding="utf-8")
    named = {"CRM_SYNC_CONFIG": "etc/crm.toml"}

    assert load(tmp_path, environ=named).database_url == f"sqlite:///{tmp_path}/etc/mine.db"
    overruled = load(tmp_path, environ={**named, "DATABASE_URL": "sqlite:///other.db"})
    assert overruled.database_url == f"sqlite:///{tmp_path}/other.db"


def test_the_default_database_lies_beside_the_settings_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "crm.toml").write_text("port = 1", encoding="utf-8")

    settings = load(tmp_path, environ={"CRM_SYNC_CONFIG": str(tmp_path / "etc" / "crm.toml")})
    assert settings.database_url == f"sqlite:///{tmp_path}/etc/var/crm-sync.db"


@pytest.mark.parametrize(
    ("given", "api", "token"),
    [
        ({}, "https://api.mypurecloud.com", "https://login.mypurecloud.com/oauth/token"),
        ({"region": "mypurecloud.ie"}, "https://api.mypurecloud.ie", "https://login.mypurecloud.ie/oauth/token"),
        ({"api_url": "http://127.0.0.1:9/"}, "http://127.0.0.1:9", "http://127.0.0.1:9/oauth/token"),
        ({"login_url": "https://l.example"}, "https://api.mypurecloud.com", "https://l.example/oauth/token"),
        (
            {"api_url": "https://a.example", "login_url": "https://l.example"},
            "https://a.example",
            "https://l.example/oauth/token",
        ),
    ],
)
def test_addresses_follow_from_the_region_unless_given(given: dict[str, str], api: str, token: str) -> None:
    genesys = GenesysSettings.model_validate(given)

    assert (genesys.api_url, genesys.token_url) == (api, token)


def test_credentials_turn_registration_on(tmp_path: Path) -> None:
    settings = load(tmp_path, environ=CREDENTIALS)

    assert settings.genesys.registration == "webhook"
    assert settings.public_url == "https://sync.example.com"
    assert settings.warnings == ()


def test_registration_can_be_left_out_on_purpose_without_a_warning(tmp_path: Path) -> None:
    assert load(tmp_path, environ={"GENESYS_REGISTRATION": "none"}).warnings == ()


@pytest.mark.parametrize(
    ("url", "warns"),
    [
        ("http://sync.example.com", True),
        ("https://sync.example.com", False),
        ("http://127.0.0.1:8000", False),
        ("http://localhost:8000", False),
        ("http://[::1]:8000", False),
    ],
)
def test_plain_http_beyond_this_machine_is_doubted(url: str, warns: bool, tmp_path: Path) -> None:
    warnings = load(tmp_path, environ={**CREDENTIALS, "PUBLIC_URL": url}).warnings

    assert [warning.split()[0] for warning in warnings] == (["PUBLIC_URL"] if warns else [])


def test_credentials_over_plain_http_are_doubted(tmp_path: Path) -> None:
    warnings = load(tmp_path, environ={**CREDENTIALS, "GENESYS_LOGIN_URL": "http://login.example"}).warnings

    assert [warning.split()[0] for warning in warnings] == ["GENESYS_LOGIN_URL"]


def test_webhook_secrets_keep_their_order(tmp_path: Path) -> None:
    from_text = load(tmp_path, environ={"WEBHOOK_SECRETS": f" {SECRET}-new , {SECRET}-old,"})
    from_list = load(tmp_path, f'webhook_secrets = ["{SECRET}-new", "{SECRET}-old"]')

    for settings in (from_text, from_list):
        told = [secret.get_secret_value() for secret in settings.webhook_secrets]
        assert told == [f"{SECRET}-new", f"{SECRET}-old"]


def test_the_web_process_needs_a_secret_and_others_do_not(tmp_path: Path) -> None:
    load(tmp_path, environ={"WEBHOOK_SECRETS": SECRET}).require_for_web()

    with pytest.raises(SettingsError, match="WEBHOOK_SECRETS is not set"):
        load(tmp_path).require_for_web()


def test_our_word_resolved_is_known_unless_it_is_redefined(tmp_path: Path) -> None:
    toml = '[resolution]\ngrace_minutes = 3\n[resolution.words]\n" Erledigt" = "resolved"\n'
    known = load(tmp_path, toml).resolution.as_map()
    redefined = load(tmp_path, '[resolution.words]\nRESOLVED = "unresolved"\n').resolution.as_map()

    assert known.words == {"resolved": Status.RESOLVED, "erledigt": Status.RESOLVED}
    assert known.grace == timedelta(minutes=3)
    assert redefined.words == {"resolved": Status.UNRESOLVED}
    assert load(tmp_path, "port = 1").resolution.as_map().words == {"resolved": Status.RESOLVED}


def test_wrapup_codes_are_kept_as_they_are(tmp_path: Path) -> None:
    settings = load(tmp_path, '[resolution.wrapup_codes]\nAbC-1 = "escalated"\n')

    assert settings.resolution.as_map().wrapup_codes == {"AbC-1": Status.ESCALATED}


def test_a_wrapup_code_is_known_however_its_uuid_is_spelt(tmp_path: Path) -> None:
    settings = load(tmp_path, '[resolution.wrapup_codes]\n"F0E5B3F4-8F0E-4A8B-9C3A-0F9F2B5D7E21" = "resolved"\n')

    assert settings.resolution.as_map().wrapup_codes == {"f0e5b3f4-8f0e-4a8b-9c3a-0f9f2b5d7e21": Status.RESOLVED}


def test_a_target_parts_its_own_options_from_ours(tmp_path: Path) -> None:
    toml = """
    [targets.odoo-live]
    adapter = "odoo"
    batch = 50
    url = "https://odoo.example"
    api_key = "${ODOO_KEY}"
    dsn = "postgres://u:${PASSWORD}@${HOST}/x"
    nested = { list = ["${HOST}", 1, 2.5, true] }
    [targets.odoo-live.fields]
    name = "conversation_id"
    stage = { from = "resolution", map = { resolved = "done" }, default = "open" }
    origin = { constant = "Genesys" }
    note = "attributes.reason"
    """
    (tmp_path / "password").write_text("from-file-${HOST}\n", encoding="utf-8")
    settings = load(tmp_path, toml, {"ODOO_KEY": "key-123", "HOST": "db", "PASSWORD_FILE": "password"})

    target = settings.targets["odoo-live"]
    assert (target.adapter, target.batch, target.concurrency) == ("odoo", 50, 2)
    assert target.options == {
        "url": "https://odoo.example",
        "api_key": "key-123",
        "dsn": "postgres://u:from-file-${HOST}@db/x",
        "nested": {"list": ["db", 1, 2.5, True]},
    }
    assert target.fields == {
        "name": FieldRule(source="conversation_id"),
        "stage": FieldRule(source="resolution", map={"resolved": "done"}, default="open"),
        "origin": FieldRule(constant="Genesys"),
        "note": FieldRule(source="attributes.reason"),
    }


def test_no_secret_shows_in_a_repr(tmp_path: Path) -> None:
    toml = '[targets.crm]\nadapter = "webhook"\nsecret = "${TARGET_SECRET}"\nplain = "canary-plain"\n'
    environ = {
        **CREDENTIALS,
        "GENESYS_CLIENT_SECRET": "canary-client",
        "WEBHOOK_SECRETS": "canary-webhook-secret",
        "DATABASE_URL": "postgresql://u:canary-db@db/x",
        "TARGET_SECRET": "canary-target",
    }
    settings = load(tmp_path, toml, environ)

    assert "canary" not in repr(settings) + str(settings) + repr(settings.targets)


def test_every_secret_can_be_told_to_the_logs(tmp_path: Path) -> None:
    toml = """
    [targets.crm]
    adapter = "x"
    user = "${CRM_USER}"
    token_url = "https://crm"
    auth = { password = "literal" }
    """
    environ = {**CREDENTIALS, "DATABASE_URL": "postgresql://u:p%40ss@db/x", "CRM_USER": "someone"}

    expected = {"client-secret", SECRET, "p%40ss", "p@ss", "someone", "literal"}
    assert load(tmp_path, toml, environ).secret_values() == expected
    assert load(tmp_path, "port = 1").secret_values() == frozenset()


def test_settings_can_be_made_by_hand() -> None:
    settings = Settings(
        database_url="sqlite:////tmp/x.db", targets={"crm": TargetSettings(adapter="webhook", options={"url": "x"})}
    )

    assert settings.sessions.max_turns == 10
    assert settings.resolution.as_map().words == {"resolved": Status.RESOLVED}
    assert settings.warnings == ()


def test_further_oauth_clients_come_with_secrets_from_the_environment(tmp_path: Path) -> None:
    toml = """
    [genesys]
    client_id = "first"
    client_secret = "first secret"
    registration = "none"
    [[genesys.more_clients]]
    client_id = "second"
    client_secret = "${SECOND}"
    """
    (tmp_path / "crm-sync.toml").write_text(toml)

    settings = Settings.load({"SECOND": "second secret"}, cwd=tmp_path)

    assert [client.client_id for client in settings.genesys.clients] == ["first", "second"]
    assert {"first secret", "second secret"} <= settings.secret_values()
    assert "second secret" not in repr(settings)


@pytest.mark.parametrize(
    ("registration", "dialect"), [("webhook", "tutorial"), ("trigger", "platform"), ("none", "platform")]
)
def test_who_registers_the_tutorials_webhook_speaks_its_contract(registration: str, dialect: str) -> None:
    given = {"client_id": "a", "client_secret": "b", "registration": registration}

    assert GenesysSettings.model_validate(given).dialect == dialect
    assert GenesysSettings.model_validate(given | {"dialect": "tutorial"}).dialect == "tutorial"


@pytest.mark.parametrize("workflow", ['workflow_id = "w-1"', 'workflows = {"acw" = "w-1"}'])
def test_every_kind_of_trigger_has_its_workflow_or_the_common_one(workflow: str, tmp_path: Path) -> None:
    toml = (
        f'[genesys]\nclient_id = "a"\nclient_secret = "b"\nregistration = "trigger"\n[genesys.triggers]\n{workflow}\n'
    )
    (tmp_path / "crm-sync.toml").write_text(toml + 'kinds = ["acw"]\n')

    assert Settings.load({}, cwd=tmp_path).genesys.triggers.without_workflow == []


def test_triggers_can_be_made_for_every_kind_that_we_read() -> None:
    assert TriggerSettings(kinds=tuple(kinds.MERGED), workflow_id="w-1").without_workflow == []
    with pytest.raises(ValueError, match="no kind of event"):
        TriggerSettings(kinds=("outbound",))
