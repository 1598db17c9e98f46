"""gunicorn's settings for the empty route: those of crm-sync, without what it does when a process starts or ends."""

from crm_sync.web import server

bind = server.bind
workers = server.workers
worker_class = server.worker_class
worker_connections = server.worker_connections
keepalive = server.keepalive
timeout = server.timeout
graceful_timeout = server.graceful_timeout
control_socket_disable = server.control_socket_disable
accesslog = server.accesslog
