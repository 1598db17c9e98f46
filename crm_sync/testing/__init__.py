"""The contract kit: what every adapter is measured by, ours and those of others. Needs pytest.

Inherit `AdapterContract` (or `HTTPContract`, for a CRM that is reached over HTTP) in a test module and give it the
fixtures that it asks for.
"""

import pytest

# Before the modules are imported, so that a broken promise is shown with its values.
pytest.register_assert_rewrite("crm_sync.testing.contract", "crm_sync.testing.http_contract")
