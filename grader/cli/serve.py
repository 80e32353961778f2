"""The commands that open the practice page, and write its report."""

from pathlib import Path

import click

from grader.bank.catalog import find_house


@click.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), help="The port; 0 for any. By default 8765, or one that is free."
)
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@click.option("--unix-socket", type=click.Path(path_type=Path), hidden=True)  # for jupyter-server-proxy
def serve(port: int | None, no_browser: bool, unix_socket: Path | None) -> None:
    """Open the practice page: statement, editor and verdicts in a browser. Ctrl-C ends it.

    Only this machine reaches it, and only with the token in the address.
    """
    from grader.serve import start

    house = find_house()
    if unix_socket:
        start.serve_proxied(house, unix_socket)
        return

    def ready(url: str) -> None:
        click.echo(f"The practice page: {url}\nCtrl-C ends it. Your files stay as they are.")
        if not no_browser:
            start.open_browser(house, url)

    try:
        start.serve(house, port, ready)
    except start.RunsAlready as there:
        click.echo(str(there))
        if not no_browser:
            start.open_browser(house, there.url)
        return
    click.echo("\nThe practice page has ended.")


@click.command()
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), default="report.html", show_default=True)
def report(out: Path) -> None:
    """Write your report as one HTML file for A4: roles, points over time, mistakes, hints, topics."""
    from datetime import datetime

    from grader.base.files import write_file
    from grader.serve import reported
    from grader.serve.sheet import sheet

    write_file(out, sheet(reported.report(find_house()), datetime.now()))
    click.echo(f"wrote {out}")
