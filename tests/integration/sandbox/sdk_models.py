"""What the vendor's SDK makes of a JSON text. It forgives much: so what it read is compared with what there was."""

import json
import re
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import PureCloudPlatformClientV2 as sdk


class WatchingClient(sdk.ApiClient):
    """Compares each answer with what the SDK made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    def deserialize(self, response: Any, response_type: Any) -> Any:
        read = super().deserialize(response, response_type)
        self.faults += differences(json.loads(response.data), read, response_type, response_type)
        return read


def differences(raw: Any, read: Any, kind: str, path: str) -> list[str]:
    """Return where a JSON value and what the SDK read from it as this type differ."""
    if raw is None:
        return []
    if listed := re.fullmatch(r"list\[(.*)\]", kind):
        parts = [(raw[place], read[place], listed[1], f"{path}[{place}]") for place in range(len(raw))]
    elif mapped := re.fullmatch(r"dict\([^,]*, (.*)\)", kind):
        parts = [(raw[name], read[name], mapped[1], f"{path}.{name}") for name in raw]
    elif hasattr(read, "attribute_map"):
        names = {key: name for name, key in read.attribute_map.items()}
        unknown = [f"{path}.{key} is not known" for key in raw if key not in names]
        parts = [
            (raw[key], getattr(read, names[key]), read.swagger_types[names[key]], f"{path}.{key}")
            for key in raw
            if key in names
        ]
        return unknown + [fault for part in parts for fault in differences(*part)]
    else:
        return [] if is_same(raw, read) else [f"{path}: {raw!r} was read as {read!r}"]
    return [fault for part in parts for fault in differences(*part)]


def is_same(raw: Any, read: Any) -> bool:
    """Tell whether a plain value was read as what it is; JSON has one kind of number, and its instants are texts."""
    if isinstance(read, datetime):
        return read == datetime.fromisoformat(raw)
    return raw == read and (type(raw) is type(read) or {type(raw), type(read)} == {int, float})


def answer_of(data: str) -> SimpleNamespace:
    """Return a body as the SDK's transport hands an answer on."""
    return SimpleNamespace(data=data, getheader={"Content-Type": "application/json"}.get)


def faults_of(body: str, kind: str) -> list[str]:
    """Return where a body and what the SDK reads from it as this class differ."""
    client = WatchingClient()
    client.deserialize(answer_of(body), kind)
    return client.faults
