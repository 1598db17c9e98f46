"""A pretend Genesys Cloud and a pretend CRM over real HTTP, for the demo, for tests and for training.

Nothing here is shared with the code it stands opposite to: it signs, counts and expects by itself, so that it proves
something.
"""
