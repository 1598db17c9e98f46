"""The world of these tests is that of the acceptance tests."""

from tests.acceptance.conftest import world as world
