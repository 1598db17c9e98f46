"""A pretend Genesys Cloud, a pretend CRM and a receiver of webhooks, each on a loopback port of its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from flask import Flask

from crm_sync.sandbox.client import CRMControl, GenesysControl
from crm_sync.sandbox.crm import CRMState, create_crm
from crm_sync.sandbox.genesys import create_genesys
from crm_sync.sandbox.genesys_state import GenesysOptions, GenesysState
from crm_sync.sandbox.server import serve
from tests.integration.sandbox.harness import QUICK, Genesys, Receiver


@pytest.fixture
def make_genesys() -> Iterator[Callable[..., Genesys]]:
    with ExitStack() as stack:

        def make(**options: Any) -> Genesys:
            state = stack.enter_context(GenesysState(GenesysOptions(**{"manner": QUICK, "seed": 1} | options)))
            server = stack.enter_context(serve(create_genesys(state)))
            session = stack.enter_context(requests.Session())
            session.trust_env = False
            control = stack.enter_context(GenesysControl(server.url))
            return Genesys(url=server.url, control=control, session=session)

        yield make


@pytest.fixture
def genesys(make_genesys: Callable[..., Genesys]) -> Genesys:
    return make_genesys()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    received = Receiver()
    app = Flask("receiver", static_folder=None)
    app.post("/webhooks/genesys")(received.take)
    with serve(app) as server:
        received.url = f"{server.url}/webhooks/genesys"
        yield received


@pytest.fixture
def crm() -> Iterator[CRMControl]:
    with serve(create_crm(CRMState())) as server, CRMControl(server.url) as control:
        yield control
