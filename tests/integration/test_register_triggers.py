"""Registration by triggers: whoever starts, and how often, one for each kind is left, and it is the right one."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from crm_sync import register
from crm_sync.errors import AdapterFailure, Kind, NotFound
from crm_sync.genesys import paging
from crm_sync.register_triggers import ATTEMPTS, TriggerWay
from crm_sync.registration import Plan
from crm_sync.sandbox.directory import Flow
from crm_sync.services import Services
from crm_sync.settings_genesys import TriggerSettings
from crm_sync.store import registrations
from tests.integration.pretend import PretendGenesys, pretend_genesys, process
from tests.integration.triggering import OTHER, TOPIC, TRANSFERS, WORKFLOW, change, found, target

TRIGGERS = "/api/v2/processautomation/triggers"
ONE = f"{TRIGGERS}/<trigger_id>"
DRAFT, BOT = "4c1f6f0e-8d0a-4f5e-9c57-2f1f3b6a7d10", "12aeeeff-c0af-4f8b-b647-7a350630419f"
KINDS = ("customer.start", "customer.end", "acd.end", "user.end", "acw")
PERMISSIONS = {f"processautomation:trigger:{verb}" for verb in ("view", "add", "edit", "delete")}

Start = Callable[..., Services]


@pytest.fixture
def genesys() -> Iterator[PretendGenesys]:
    with pretend_genesys() as made:
        made.state.directory.put(Flow(id=OTHER, name="Another workflow"))
        yield made


@pytest.fixture
def start(migrated_url: str) -> Iterator[Start]:
    """Start one more process on the same database; what is given beside a secret are settings of the triggers."""
    with ExitStack() as stack:

        def start(genesys: PretendGenesys, *, secret: str = "a secret of the data action", **given: Any) -> Services:
            triggers = TriggerSettings(**{"workflow_id": WORKFLOW} | given)
            opened = process(
                migrated_url, genesys.url, secret=secret, registration="trigger", triggers=triggers, public_url=None
            )
            return stack.enter_context(opened)

        yield start


def test_ten_processes_that_start_at_once_leave_one_trigger_for_each_kind(
    genesys: PretendGenesys, start: Start
) -> None:
    processes = [start(genesys) for _ in range(10)]
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(_until_registered, processes))

    assert [trigger["name"] for trigger in found(genesys)] == sorted(f"crm-sync {kind}" for kind in KINDS)
    assert genesys.calls("POST", TRIGGERS) == len(KINDS)
    assert genesys.calls("PUT", ONE) == 0
    assert {register.status(services).state for services in processes} == {"registered"}


def test_a_trigger_starts_the_workflow_with_every_end_that_is_no_transfer(
    genesys: PretendGenesys, start: Start
) -> None:
    plan = register.register(start(genesys, kinds=("customer.end", "acw"), workflows={"acw": OTHER}))

    acw, end = found(genesys)
    assert plan.action == "created" and {step.id for step in plan.steps} == {acw["id"], end["id"]}
    assert end == {
        "id": end["id"],
        "name": "crm-sync customer.end",
        "topicName": f"{TOPIC}customer.end",
        "enabled": True,
        "description": end["description"],
        "target": target(WORKFLOW),
        "matchCriteria": [{"jsonPath": "disconnectType", "operator": "NotIn", "values": TRANSFERS}],
        "version": 1,
        "selfUri": f"{TRIGGERS}/{end['id']}",
    }
    assert acw["target"] == target(OTHER) and "matchCriteria" not in acw


def test_starting_again_writes_nothing(genesys: PretendGenesys, start: Start) -> None:
    assert register.register(start(genesys)).action == "created"
    before = found(genesys)
    assert register.register(start(genesys)).action == "unchanged"

    assert found(genesys) == before
    assert genesys.calls("POST", TRIGGERS) == len(KINDS)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"enabled": False}, {"enabled"}),
        ({"description": None}, {"description"}),
        ({"target": {"type": "Workflow", "id": OTHER}}, {"target"}),
        ({"matchCriteria": None, "delayBySeconds": 60}, {"matchCriteria", "delayBySeconds"}),
        ({"eventTTLSeconds": 10}, {"eventTTLSeconds"}),
        (
            {"matchCriteria": [{"jsonPath": "disconnectType", "operator": "NotIn", "values": TRANSFERS[::-1]}]},
            {"matchCriteria"},
        ),
    ],
)
def test_what_somebody_has_changed_is_told_field_by_field_and_put_right(
    genesys: PretendGenesys, start: Start, changes: dict[str, Any], fields: set[str]
) -> None:
    services = start(genesys, kinds=("customer.end",))
    register.register(services)
    (before,) = found(genesys)
    change(genesys, before["id"], **changes)

    (step,) = register.register(services).steps

    assert (step.action, step.id) == ("updated", before["id"])
    assert {one.field for one in step.differences} == fields
    (after,) = found(genesys)
    assert after == before | {"version": 3}


@pytest.mark.parametrize(
    "changes", [{"workflow_id": OTHER}, {"data_format": "Json"}, {"leave_out_transfers": False}], ids=str
)
def test_what_the_settings_change_is_written_to_the_same_trigger(
    genesys: PretendGenesys, start: Start, changes: dict[str, Any]
) -> None:
    (first,) = register.register(start(genesys, kinds=("customer.end",))).steps
    changed = start(genesys, kinds=("customer.end",), **changes)
    assert register.status(changed).state == "pending"
    assert register.register(changed).action == "updated"
    assert register.register(changed).action == "unchanged"

    assert [trigger["id"] for trigger in found(genesys)] == [first.id]
    assert register.status(changed).state == "registered"


def test_a_trigger_that_changes_meanwhile_is_read_and_compared_again(genesys: PretendGenesys, start: Start) -> None:
    services, way, plan = planned(genesys, start)
    meddled = iter([{"description": "Somebody was here"}])

    def meddle() -> None:
        for changes in meddled:
            change(genesys, plan.steps[0].id, **changes)
            break

    done = way.carry_out(client(services), plan, meddle)

    (trigger,) = found(genesys)
    assert done.action == "updated"
    assert (trigger["enabled"], trigger["version"]) == (True, 4)
    assert register.register(services).action == "unchanged"


def test_a_trigger_that_others_never_leave_alone_is_given_up_after_three_tries(
    genesys: PretendGenesys, start: Start
) -> None:
    services, way, plan = planned(genesys, start)
    meddled: list[int] = []

    def meddle() -> None:
        meddled.append(len(meddled))
        change(genesys, plan.steps[0].id, description=f"Mine {len(meddled)}")

    with pytest.raises(AdapterFailure) as raised:
        way.carry_out(client(services), plan, meddle)
    assert raised.value.fault.kind is Kind.CONFLICT
    assert len(meddled) == ATTEMPTS


def test_a_trigger_that_is_removed_meanwhile_is_made_again(genesys: PretendGenesys, start: Start) -> None:
    services, way, plan = planned(genesys, start)
    gone = [plan.steps[0].id]

    done = way.carry_out(client(services), plan, lambda: genesys.state.triggers.remove(gone.pop()) if gone else None)

    (trigger,) = found(genesys)
    assert done.action == "created"
    assert [step.id for step in done.steps] == [trigger["id"]] != [plan.steps[0].id]


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_lost_answer_leaves_one_trigger(genesys: PretendGenesys, start: Start, method: str) -> None:
    services = start(genesys, kinds=("customer.end",))
    if method == "PUT":
        (step,) = register.register(services).steps
        change(genesys, step.id, enabled=False)
    genesys.control.add_fault(path=f"{TRIGGERS}*", method=method, lose_answer=True)

    assert register.register(services).action == ("created" if method == "POST" else "updated")
    assert register.register(services).action == "unchanged"
    assert [trigger["enabled"] for trigger in found(genesys)] == [True]


def test_a_post_that_was_not_done_is_not_sent_again_before_the_next_list(genesys: PretendGenesys, start: Start) -> None:
    services = start(genesys, kinds=("customer.end",))
    genesys.control.add_fault(path=TRIGGERS, method="POST", status=500)
    with pytest.raises(AdapterFailure):
        register.register(services)
    assert genesys.calls("POST", TRIGGERS) == 1
    assert register.status(services).state == "failed"

    assert register.register(services).action == "created"
    assert len(found(genesys)) == 1


def test_of_several_with_our_name_the_first_is_kept_and_the_others_are_told_of(
    genesys: PretendGenesys, start: Start
) -> None:
    body = {"name": "crm-sync acw", "topicName": f"{TOPIC}acw", "enabled": True, "target": target(WORKFLOW)}
    first, *others = sorted(genesys.state.triggers.add(body).id for _ in range(3))

    plan = register.register(start(genesys, kinds=("acw",)))

    assert [(step.action, step.id) for step in plan.steps] == [("updated", first)]
    (remark,) = plan.remarks
    assert all(trigger_id in remark for trigger_id in others)
    assert {trigger["id"]: trigger["version"] for trigger in found(genesys)} == {first: 2} | dict.fromkeys(others, 1)


def test_triggers_of_others_are_left_alone(genesys: PretendGenesys, start: Start) -> None:
    body = {"name": "theirs", "topicName": f"{TOPIC}acw", "enabled": True, "target": target(OTHER)}
    elsewhere = body | {"name": "crm-sync acw", "topicName": "v2.quality.evaluations"}
    unwanted = body | {"topicName": f"{TOPIC}user.start"}
    theirs = [genesys.state.triggers.add(one).as_object() for one in (body, elsewhere, unwanted)]

    services = start(genesys)
    plan = register.register(services)
    register.remove(services)

    assert plan.remarks == ()
    assert sorted(found(genesys), key=str) == sorted(theirs, key=str)


def test_two_installations_with_two_names_keep_their_own_triggers(genesys: PretendGenesys, start: Start) -> None:
    for name, workflow in (("staging", OTHER), ("production", WORKFLOW), ("staging", OTHER)):
        register.register(start(genesys, name=name, workflow_id=workflow, kinds=("acw",)))

    assert [(trigger["name"], trigger["target"]["id"], trigger["version"]) for trigger in found(genesys)] == [
        ("production acw", WORKFLOW, 1),
        ("staging acw", OTHER, 1),
    ]


def test_topics_that_the_organisation_lacks_are_named_and_the_rest_is_registered(
    genesys: PretendGenesys, start: Start
) -> None:
    plan = register.register(start(genesys, kinds=("customer.end", "flow.end")))

    assert [step.name for step in plan.steps] == ["crm-sync customer.end"]
    (remark,) = plan.remarks
    assert f"{TOPIC}flow.end" in remark

    with pytest.raises(AdapterFailure, match=r"flow\.outcome"):
        register.register(start(genesys, kinds=("flow.outcome",)))


@pytest.mark.parametrize("verb", ["view", "add", "edit"])
def test_a_missing_permission_is_named(genesys: PretendGenesys, start: Start, verb: str) -> None:
    services = start(genesys, kinds=("acw",))
    if verb == "edit":
        (step,) = register.register(services).steps
        change(genesys, step.id, enabled=False)
    lacking = {f"processautomation:trigger:{verb}"} | ({"processautomation:trigger:edit"} if verb == "view" else set())
    genesys.control.set_permissions(PERMISSIONS - lacking | {"architect:flow:view"})

    with pytest.raises(AdapterFailure, match=f"grant it processautomation:trigger:{verb}"):
        register.register(services)
    assert f"processautomation:trigger:{verb}" in (register.status(services).error or "")


def test_without_the_permission_to_see_flows_it_registers_and_tells_so(genesys: PretendGenesys, start: Start) -> None:
    genesys.control.set_permissions(PERMISSIONS)

    plan = register.register(start(genesys))

    assert plan.action == "created"
    (remark,) = plan.remarks
    assert "architect:flow:view" in remark


@pytest.mark.parametrize(
    ("workflow", "told"),
    [("unknown", "no flow unknown"), (DRAFT, "not published"), (BOT, "no workflow"), ("asleep", "not active")],
)
def test_a_workflow_that_cannot_be_started_is_named_and_no_trigger_is_made(
    genesys: PretendGenesys, start: Start, workflow: str, told: str
) -> None:
    genesys.state.directory.put(Flow(id="asleep", name="Asleep", active=False))

    with pytest.raises(AdapterFailure, match=told) as raised:
        register.register(start(genesys, workflows={"acw": workflow}))
    assert workflow in str(raised.value)
    assert found(genesys) == []


def test_a_kind_that_is_not_wanted_any_more_is_told_of_and_removed_only_when_asked(
    genesys: PretendGenesys, start: Start
) -> None:
    register.register(start(genesys, kinds=("acw", "user.end")))
    services = start(genesys, kinds=("acw",))

    (remark,) = register.register(services).remarks
    acw, user = found(genesys)
    assert user["id"] in remark
    assert register.remove(services, user["id"]) == [user["id"]]
    assert found(genesys) == [acw]


def test_a_dry_run_tells_the_same_and_changes_nothing(genesys: PretendGenesys, start: Start) -> None:
    services = start(genesys, kinds=("acw", "user.end"))
    (made, *_) = register.register(start(genesys, kinds=("acw",))).steps
    change(genesys, made.id, enabled=False)
    before = found(genesys), remembered(services)

    plan = register.plan(services)

    assert [(step.action, step.id) for step in plan.steps] == [("updated", made.id), ("created", None)]
    assert (found(genesys), remembered(services)) == before
    done = register.register(services)
    assert [(s.action, s.name, s.differences) for s in done.steps] == [
        (s.action, s.name, s.differences) for s in plan.steps
    ]


def test_a_changed_secret_is_told_once_and_writes_no_trigger(genesys: PretendGenesys, start: Start) -> None:
    assert register.register(start(genesys)).remarks == ()
    changed = start(genesys, secret="another secret that is long enough")

    plans = [register.register(changed) for _ in range(2)]

    assert [plan.action for plan in plans] == ["unchanged", "unchanged"]
    assert ["data action" in " ".join(plan.remarks) for plan in plans] == [True, False]
    assert genesys.calls("PUT", ONE) == 0
    assert register.status(changed).state == "registered"


def test_ours_are_found_on_the_last_of_many_pages(genesys: PretendGenesys, start: Start) -> None:
    services = start(genesys, kinds=("acw",))
    register.register(services)
    body = {"name": "theirs", "topicName": f"{TOPIC}acw", "enabled": True, "target": target(OTHER)}
    others = [genesys.state.triggers.add(body).id for _ in range(2 * paging.PAGE_SIZE)]
    topics = [f"v2.a.topic.before.ours.{number}" for number in range(paging.PAGE_SIZE)]
    genesys.control.set_trigger_rules(topics=[*topics, f"{TOPIC}acw"])

    assert register.register(services).action == "unchanged"
    assert len(found(genesys)) == 1 + len(others)


def test_our_triggers_are_shown_and_removed(genesys: PretendGenesys, start: Start) -> None:
    services = start(genesys)
    plan = register.register(services)
    state, listed = register.show(services)
    assert state.state == "registered"
    assert {one.id for one in listed or []} == {step.id for step in plan.steps}

    assert set(register.remove(services)) == {step.id for step in plan.steps}
    assert found(genesys) == []
    assert register.status(services).state == "pending"
    for unknown in (None, "no-such-id"):
        with pytest.raises(NotFound, match="webhook show"):
            register.remove(services, unknown)


def planned(genesys: PretendGenesys, start: Start) -> tuple[Services, TriggerWay, Plan]:
    """Return a process, and its plan to enable a trigger that an admin has disabled."""
    services = start(genesys, kinds=("customer.end",))
    (step,) = register.register(services).steps
    change(genesys, step.id, enabled=False)
    way = TriggerWay.from_settings(services.settings)
    plan = way.plan(client(services), None)
    assert plan.action == "updated"
    return services, way, plan


def client(services: Services) -> Any:
    assert services.genesys is not None
    return services.genesys


def remembered(services: Services) -> registrations.Registration | None:
    with services.database.read() as connection:
        return registrations.find(connection, "triggers")


def _until_registered(services: Services) -> None:
    register.until_registered(services, sleep=lambda _: time.sleep(0.02))
