"""`crm-sync sandbox`: a pretend Genesys Cloud and a pretend CRM, to try crm-sync without either."""

import click


@click.group()
def sandbox() -> None:
    """Run a pretend Genesys Cloud or a pretend CRM on this machine."""


@sandbox.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8081, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option("--client-id", default="sandbox", show_default=True, help="The OAuth client that may ask for tokens.")
@click.option("--client-secret", default="sandbox-secret", show_default=True, help="The secret of that client.")
@click.option("--no-webhook-list", is_flag=True, help="Offer only what the tutorial has: no list of webhooks.")
@click.option("--repeat", default=1, show_default=True, type=click.IntRange(1), help="Post each event so many times.")
@click.option("--shuffle", is_flag=True, help="Post events out of order.")
@click.option("--seed", type=int, help="Make the order of --shuffle the same each time.")
@click.option(
    "--wrapper",
    default="none",
    show_default=True,
    type=click.Choice(["none", "conversation", "data", "eventBody"]),
    help="Post the conversation bare, or under this key.",
)
def genesys(
    host: str,
    port: int,
    client_id: str,
    client_secret: str,
    no_webhook_list: bool,
    repeat: int,
    shuffle: bool,
    seed: int | None,
    wrapper: str,
) -> None:
    """Run a pretend Genesys Cloud until Ctrl-C."""
    # Imported here so that the other commands do not load a second web application.
    from crm_sync.sandbox.genesys_state import GenesysOptions
    from crm_sync.sandbox.oauth import OAuthClient
    from crm_sync.sandbox.poster import Manner
    from crm_sync.sandbox.server import run_genesys

    options = GenesysOptions(
        client=OAuthClient(client_id=client_id, client_secret=client_secret),
        webhook_list=not no_webhook_list,
        manner=Manner(repeat=repeat, shuffle=shuffle, wrapper=wrapper),  # type: ignore[arg-type]  # a choice of these
        seed=seed,
    )
    try:
        run_genesys(options, host=host, port=port)
    except OSError as error:
        raise _taken(host, port, error) from error


@sandbox.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8082, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option("--secret", "secrets", multiple=True, help="A secret as whsec_ and base64; repeat it while you rotate.")
@click.option("--latency", default=0.0, show_default=True, type=click.FloatRange(0), help="Seconds that a push takes.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Pushes a second; those beyond are answered 429.")
@click.option("--burst", default=1, show_default=True, type=click.IntRange(1), help="Pushes at once, under --rate.")
@click.option("--fail-every", type=click.IntRange(1), help="Answer 500 to every so manieth push, as in 3.")
def crm(
    host: str,
    port: int,
    secrets: tuple[str, ...],
    latency: float,
    rate: float | None,
    burst: int,
    fail_every: int | None,
) -> None:
    """Run a pretend CRM until Ctrl-C. Without --secret it has a well-known one, which it names."""
    from crm_sync.sandbox.crm import SANDBOX_SECRET, CRMFault, CRMState
    from crm_sync.sandbox.crm_manner import CRMManner
    from crm_sync.sandbox.server import run_crm

    if not secrets:
        click.echo(f"The secret of the pretend CRM is {SANDBOX_SECRET}")
    try:
        state = CRMState(secrets or (SANDBOX_SECRET,))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--secret") from error
    state.gate.behave(CRMManner(latency_seconds=latency, rate=rate, burst=burst))
    if fail_every:
        state.faults.add(CRMFault(kind="fail", times=None, every=fail_every))
    try:
        run_crm(state, host=host, port=port)
    except OSError as error:
        raise _taken(host, port, error) from error


def _taken(host: str, port: int, error: OSError) -> click.ClickException:
    return click.ClickException(f"Cannot listen on {host}:{port} ({error.strerror}). Choose another with --port.")
