"""How a view reaches the services of its process."""

from crm_sync.services import attach as attach
from crm_sync.services import current as services
