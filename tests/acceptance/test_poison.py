"""A record that brings its worker down harms only itself, whatever else that worker has in its hands."""

from pathlib import Path

from tests.acceptance.harness import World, webhook_target
from tests.acceptance.sender import Sender, conversation

LOSSES = 4
INNOCENTS = [f"innocent-{number}" for number in range(6)]

ADAPTER = '''
import os, time
from crm_sync.adapters.memory import MemoryAdapter

class PoisonAdapter(MemoryAdapter):
    """Lets the other lanes begin their calls, and then ends the process, as a crash in a C library would."""

    def push(self, batch):
        if any(entry.conversation_id == "poison" for entry in batch):
            time.sleep(0.3)
            os._exit(86)
        return super().push(batch)
'''

SETTINGS = """
[worker]
lease_seconds = 3
push_deadline_seconds = 2

[targets.poisoned]
adapter = "poison"
"""


def test_a_record_that_kills_its_worker_is_dead_in_the_end_and_no_other_record_is(world: World) -> None:
    install(world.folder)
    crm = world.crm()
    # Slower than the poison: whatever is pushed beside it never comes to its end.
    crm.behave(latency_seconds=1)
    world.settings = SETTINGS + webhook_target(crm.url, "innocent", concurrency=8)
    web = world.web()
    with Sender(web.url) as sender:
        sender.post_all(conversation(conversation_id) for conversation_id in ["poison", *INNOCENTS])
    for _ in range(LOSSES):
        assert world.worker().wait() == 86
    world.worker()
    world.until(lambda: not world.rows("SELECT id FROM deliveries WHERE state = 'pending'"), "nothing is owed any more")
    dead = world.rows(
        "SELECT t.name, d.conversation_id FROM deliveries AS d JOIN targets AS t ON t.id = d.target_id"
        " WHERE d.state = 'dead'"
    )
    records = {record["conversation_id"] for record in crm.records()}

    assert dead == [{"name": "poisoned", "conversation_id": "poison"}]
    assert records == {"poison", *INNOCENTS}


def install(folder: Path) -> None:
    """Put an adapter of somebody else's where the processes find it: its module, and the entry point that names it."""
    (folder / "poison.py").write_text(ADAPTER)
    info = folder / "poison-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: poison\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[crm_sync.adapters]\npoison = poison:PoisonAdapter\n")
