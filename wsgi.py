"""The web application for a WSGI server: `app`."""

from crm_sync.start import web_application

app = web_application()
