"""One command runs everything, stops it cleanly, and starts again after any death."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import asyncpg
import psutil
import pytest
import typer

from intake.commands.machine import doors
from tests.platform.machine import PATIENCE, Up, status, wait_for
from worker.embedded import EmbeddedValkey
from worker.home import Home

pytestmark = pytest.mark.slow

README = Path(__file__).parents[2] / "README.md"


def readme_script(url: str) -> str:
    """The script with which the README posts an event, aimed at `url`."""
    found = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert found is not None
    assert "http://127.0.0.1:8000" in found[1]
    return found[1].replace("http://127.0.0.1:8000", url)


def post(up: Up) -> str:
    """Run the README's script as a reader does, beside the home."""
    done = subprocess.run(
        [sys.executable, "-c", readme_script(up.url)],
        cwd=up.home.parent,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def events(up: Up) -> int:
    connection = await asyncpg.connect(Home(up.home).postgres().url())
    try:
        return await connection.fetchval("SELECT count(*) FROM webhook_events")
    finally:
        await connection.close()


def living(up: Up) -> list[str]:
    """The processes that have to do with this home."""
    found: list[str] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            ours = process.environ().get("BILLING_HOME") == str(up.home)
            words = " ".join(process.cmdline())
            if process.pid != os.getpid() and (ours or str(up.home) in words):
                found.append(words)
    return found


def start_by_hand(up: Up) -> "subprocess.CompletedProcess[str]":
    """An `up` that is expected to refuse."""
    return up.billing("up", *up.options)


def said_again(up: Up, times: int) -> bool:
    """Whether it has told so often that it starts something again; a death may be told of more than once."""
    return up.log.read_text().count("starting it again") >= times


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One that runs through several tests, none of which harms it."""
    one = Up(tmp_path_factory.mktemp("shared") / ".billing")
    try:
        yield one.start()
    finally:
        one.end()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the README's reader has it: `.billing` in the working folder."""
    return tmp_path / ".billing"


async def test_from_nothing_to_an_event_and_back(up: Callable[..., Up], home: Path) -> None:
    first = up(home=home).start()
    assert '"duplicate":false' in post(first).replace(" ", "")
    assert '"duplicate":true' in post(first).replace(" ", "")
    token = (home / "secrets" / "admin_token").read_text().strip()
    assert token in first.told
    assert {stat.S_IMODE(file.stat().st_mode) for file in (home / "secrets").iterdir()} == {0o600}
    code, rest = first.stop()
    assert (code, rest) == (0, "")
    assert living(first) == []
    first.log.unlink()

    second = up(home=home).start()
    assert '"duplicate":true' in post(second).replace(" ", "")
    assert token not in second.told, "the token is shown once"
    assert "whsec_" in second.told
    assert not [secret for secret in (token, "whsec_") if secret in second.log.read_text()], "logs hold no secrets"
    assert await events(second) == 1


def test_a_second_one_on_the_same_home_is_refused(shared: Up) -> None:
    second = start_by_hand(shared)
    assert second.returncode == 2
    assert str(shared.pid) in second.stderr
    assert "BILLING_HOME" in second.stderr
    assert shared.healthy()


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_starts_stops_it_too(up: Callable[..., Up], sign: signal.Signals) -> None:
    one = up()
    one.spawn()
    assert one.process is not None
    wait_for((one.home / "run" / "up.lock").exists, "the lock")
    one.process.send_signal(sign)
    assert one.process.wait(PATIENCE) == 0
    assert living(one) == []


async def test_it_starts_again_after_the_whole_tree_lost_its_head(up: Callable[..., Up], home: Path) -> None:
    first = up(home=home).start()
    post(first)
    os.kill(first.pid, signal.SIGKILL)
    second = up(home=home).start()
    assert await events(second) == 1
    assert '"duplicate":true' in post(second).replace(" ", "")
    assert second.stop()[0] == 0
    assert living(second) == []


async def test_it_starts_again_after_a_power_cut(up: Callable[..., Up], home: Path) -> None:
    first = up(home=home).start()
    post(first)
    tree = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
    for process in tree:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    second = up(home=home).start()
    assert await events(second) == 1


async def test_what_dies_is_started_again(up: Callable[..., Up], home: Path) -> None:
    one = up(home=home).start()
    post(one)
    for number, victim in enumerate(("intake", "admin", "worker", "postgres", "valkey"), 1):
        wait_for(lambda: len(one.roles()) == 3 and one.healthy(), f"all to be well before {victim} dies")
        if victim in one.roles():
            pid = one.roles()[victim]
        else:
            pid = next(p.pid for p in psutil.Process(one.pid).children() if victim in p.name())
        os.kill(pid, signal.SIGKILL)
        wait_for(partial(said_again, one, number), f"a word about {victim}")
    wait_for(lambda: len(one.roles()) == 3 and one.healthy(), "all to be well again")
    assert '"duplicate":true' in post(one).replace(" ", "")
    assert await events(one) == 1


async def test_the_doors_never_hold_the_api_key(up: Callable[..., Up]) -> None:
    one = up(STRIPE_SECRET_KEY="sk_test_never", STRIPE_WEBHOOK_SECRET="whsec_given").start()
    roles = wait_for(lambda: one.roles() if len(one.roles()) == 3 else {}, "all roles")
    held = {role: psutil.Process(pid).environ() for role, pid in roles.items()}
    assert "STRIPE_SECRET_KEY" in held["worker"]
    assert "STRIPE_SECRET_KEY" not in held["intake"]
    assert "STRIPE_SECRET_KEY" not in held["admin"]
    assert held["intake"]["STRIPE_MODE"] == "test"
    assert not (one.home / "secrets" / "stripe_webhook_secret").exists()
    assert "whsec_given" not in one.log.read_text()


async def test_given_servers_are_used_and_none_is_embedded(
    up: Callable[..., Up], database_url: str, valkey: EmbeddedValkey
) -> None:
    one = up(DATABASE_URL=database_url, REDIS_URL=valkey.url).start()
    assert not (one.home / "postgres").exists()
    assert not (one.home / "valkey").exists()
    wait_for(one.healthy, "health")
    assert one.stop()[0] == 0


def test_a_taken_port_is_named(up: Callable[..., Up]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = start_by_hand(up("--port", str(port)))
        assert refused.returncode == 2
        assert str(port) in refused.stderr
        assert "--port" in refused.stderr
        refused = start_by_hand(up("--port", "0", "--admin-port", str(port)))
        assert refused.returncode == 2
        assert "--admin-port" in refused.stderr


def test_all_mistakes_are_named_at_once(up: Callable[..., Up]) -> None:
    refused = start_by_hand(up(DATABASE_URL="mysql://x", REDIS_URL="http://y", STRIPE_MODE="sandbox"))
    assert refused.returncode == 2
    assert all(name in refused.stderr for name in ("DATABASE_URL", "REDIS_URL", "STRIPE_MODE"))
    assert refused.stdout == ""


def test_what_no_worker_could_read_is_named_at_once(up: Callable[..., Up], home: Path) -> None:
    """A worker would end with 2 again and again, and its reason scroll by."""
    sellers = home.with_name("sellers.toml")
    sellers.write_text('[sellers.acme]\nname = "Acme"\ntimezone = "Europe/Berlim"\ncolour = "#ffffff"\n')
    refused = start_by_hand(up(BILLING_SELLERS_FILE=str(sellers)))
    assert refused.returncode == 2
    assert all(what in refused.stderr for what in ("timezone", "did you mean color")), refused.stderr
    assert "Traceback" not in refused.stderr
    assert (refused.stdout, living(up())) == ("", [])


def test_a_database_that_is_away_is_named(up: Callable[..., Up]) -> None:
    refused = start_by_hand(up(DATABASE_URL="postgresql://u:geheim@127.0.0.1:1/x"))
    assert refused.returncode == 2
    assert "DATABASE_URL" in refused.stderr
    assert "geheim" not in refused.stderr
    assert living(up()) == []


def test_the_doors_are_apart(shared: Up) -> None:
    one = shared
    wait_for(lambda: len(one.roles()) == 3, "all roles")
    admin = next(int(words[words.index("--port") + 1]) for words in [psutil.Process(one.roles()["admin"]).cmdline()])

    assert status(f"{one.url}/admin/status") == 404
    wait_for(lambda: status(f"http://127.0.0.1:{admin}/health") == 200, "the internal door")
    assert status(f"http://127.0.0.1:{admin}/admin/status") == 401


async def test_an_event_reaches_the_books_and_tells_its_story(shared: Up) -> None:
    post(shared)
    connection = await asyncpg.connect(Home(shared.home).postgres().url())
    end = time.monotonic() + PATIENCE
    name = None
    while name is None and time.monotonic() < end:
        name = await connection.fetchval("SELECT name FROM users WHERE stripe_customer_id = 'cus_readme'")
    await connection.close()
    assert name == "Ada Lovelace"
    told = shared.billing("events", "show", "evt_readme")
    assert told.returncode == 0, told.stderr
    assert "customer.created" in told.stdout


def test_the_doctor_is_content_with_it(shared: Up) -> None:
    told = shared.billing("doctor")
    assert told.returncode == 0, told.stdout
    assert "all is well" in told.stdout


def test_the_status_of_it_is_told(shared: Up) -> None:
    told = json.loads(shared.billing("status", "--json").stdout)
    assert set(told["queues"]) == {"events", "mail", "pdf", "batch"}
    assert len(told["workers"]) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_free_ports_are_neighbours(host: str) -> None:
    for _ in range(20):
        found = doors(host, 0, None)
        assert found.admin == found.public + 1


def test_the_highest_port_has_no_neighbour() -> None:
    with pytest.raises(typer.Exit):
        doors("127.0.0.1", 65535, None)


async def test_each_role_gets_only_its_own_secrets(up: Callable[..., Up]) -> None:
    given = {"STRIPE_SECRET_KEY": "sk_test_x", "stripe_webhook_secret": "whsec_x", "ADMIN_TOKEN": "token_x"}
    one = up(**given).start()
    roles = wait_for(lambda: one.roles() if len(one.roles()) == 3 else {}, "all roles")
    held = {role: set(given.values()) & set(psutil.Process(pid).environ().values()) for role, pid in roles.items()}
    assert held == {"intake": {"whsec_x"}, "admin": {"token_x"}, "worker": {"sk_test_x"}}
    host, _, port = one.url.rpartition(":")
    wait_for(lambda: status(f"{host}:{int(port) + 1}/sign-in") == 200, "the internal door on the next port")
