"""`python -m crm_sync` is the same as `crm-sync`."""

from crm_sync.cli import main

main(prog_name="crm-sync")
