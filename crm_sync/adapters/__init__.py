"""Targets: how each CRM is written to. One file per CRM, all behind the contract in `contract.py`."""
