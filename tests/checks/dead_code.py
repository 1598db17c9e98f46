"""Refuse code that nothing uses, as vulture finds it."""

import sys
import tomllib
from pathlib import Path

from vulture import Vulture

LEFT_OUT = {"attribute", "import", "variable"}
"""Fields of values and settings are read by name, so vulture knows nothing of their use; imports are ruff's."""


def main() -> int:
    """Return 1 and name the places when there is dead code."""
    settings = tomllib.loads(Path("pyproject.toml").read_text())
    project, ours = settings["project"], settings["tool"]["vulture"]
    entry_points = [project["scripts"], *project["entry-points"].values()]
    loaded_by_name = [value.partition(":")[2] for group in entry_points for value in group.values()]
    found = Vulture(
        ignore_names=[*ours["ignore_names"], *loaded_by_name],
        ignore_decorators=ours["ignore_decorators"],
    )
    found.scavenge(ours["paths"])
    dead = [item for item in found.get_unused_code() if item.typ not in LEFT_OUT or item.confidence == 100]
    for item in dead:
        print(item.get_report(), file=sys.stderr)
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main())
