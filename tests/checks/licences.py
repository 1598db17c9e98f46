"""Refuse an installed package whose licence is not on the list; `make check` runs this over all pins."""

import re
import sys
from importlib.metadata import Distribution, distributions

ALLOWED = re.compile(r"MIT|BSD|Apache|PSF|zlib|ZPL|MPL|LGPL")
REFUSED = re.compile(r"(?<!L)GPL|Affero|Proprietary", re.IGNORECASE)
TOLD_ELSEWHERE = {"pysqlite3": "zlib"}  # Its metadata says nothing; its LICENSE file does.


def main() -> int:
    """Return 1 and name the packages when there are some that may not be used."""
    told = {package.name: _licence(package) for package in distributions()}
    refused = [name for name, licence in told.items() if REFUSED.search(licence) or not ALLOWED.search(licence)]
    for name in sorted(refused):
        print(f"{name}: the licence is not on our list: {told[name] or 'none told'}", file=sys.stderr)
    return 1 if refused else 0


def _licence(package: Distribution) -> str:
    metadata = package.metadata
    classifiers = [line for line in metadata.get_all("Classifier") or [] if line.startswith("License ::")]
    told = " ".join([metadata.get("License-Expression") or "", *classifiers]).strip()
    return told or TOLD_ELSEWHERE.get(package.name, metadata.get("License") or "")


if __name__ == "__main__":
    sys.exit(main())
