"""`python -m deploy.demo.simulator`: a Stripe on this machine, until it is told to stop."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime

from deploy.demo.simulator.server import serving
from deploy.demo.simulator.simulation import Simulation

TICK = 0.1
"""Real seconds between two steps of a clock that runs by itself."""


def wall() -> int:
    """Seconds since 1970 by the machine's clock: signatures are dated by it, as their receiver lives by it."""
    return int(datetime.now(UTC).timestamp())


def moment(text: str) -> int:
    """Seconds since 1970, from themselves or from ISO 8601 (UTC where no zone is given)."""
    if text.lstrip("-").isdecimal():
        return int(text)
    found = datetime.fromisoformat(text)
    return int((found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp())


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.demo.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=7, help="the same seed makes the same ids")
    parser.add_argument("--start", type=moment, default=None, help="the clock's first time: ISO 8601 or seconds (now)")
    parser.add_argument("--webhook", action="append", default=[], metavar="URL[,SECRET][,VERSION]")
    parser.add_argument("--concurrency", type=int, default=16, help="webhooks posted at once; 1 keeps strict order")
    parser.add_argument(
        "--patience", type=float, default=30.0, help="real seconds that a receiver may be away unpunished"
    )
    parser.add_argument("--clock", choices=("still", "real"), default="still", help="real: it runs by itself")
    parser.add_argument("--speed", type=float, default=1.0, help="simulated seconds per second, with --clock real")
    parser.add_argument("--with-parent", action="store_true", help="stop when standard input ends")
    return parser.parse_args(given)


def endpoint(simulation: Simulation, given: str) -> None:
    """Deliver to an endpoint as the command line names it."""
    url, *more = given.split(",")
    secret = next((text for text in more if text.startswith("whsec_")), None)
    version = next((text for text in more if text and not text.startswith("whsec_")), None)
    simulation.endpoint(url, secret=secret, version=version)


async def run_clock(simulation: Simulation, speed: float) -> None:
    """Let time pass `speed` times as fast as here; a move by hand is kept, and time goes on from there."""
    last, owed = time.monotonic(), 0.0
    while True:
        await asyncio.sleep(TICK)
        last, before = time.monotonic(), last
        owed += (last - before) * speed
        passed, owed = int(owed), owed % 1
        await simulation.pass_by(passed, wait=False)


async def main(asked: argparse.Namespace) -> None:
    """Serve until a signal comes."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    simulation = Simulation(
        asked.seed,
        asked.start if asked.start is not None else wall(),
        wall=wall,
        concurrency=asked.concurrency,
        patience=asked.patience,
        forget=True,
    )
    for given in asked.webhook:
        endpoint(simulation, given)
    async with serving(simulation, asked.host, asked.port) as address:
        print(f"ready {address}", flush=True)  # noqa: T201 - whoever started it waits for this line
        running = asyncio.create_task(run_clock(simulation, asked.speed)) if asked.clock == "real" else None
        await stop.wait()
        if running is not None:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


def stop_when_parent_goes() -> None:
    """Send ourselves SIGTERM when standard input, which our parent holds open, ends: it has died."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 512):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    given = arguments()
    if given.with_parent:
        stop_when_parent_goes()
    try:
        asyncio.run(main(given))
    except OSError as error:
        sys.exit(f"{given.host}:{given.port} cannot be listened on: {os.strerror(error.errno or 0)}")
