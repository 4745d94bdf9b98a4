"""The embedded servers keep what they were given, through any way of dying."""

import os
import pwd
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis

from worker.embedded import SOCKET_PATH_LIMIT, EmbeddedPostgres, EmbeddedServerError, EmbeddedValkey

pytestmark = pytest.mark.slow

START_AND_VANISH = """
import os, sys
from pathlib import Path
from worker.embedded import EmbeddedPostgres, EmbeddedValkey
server = {"postgres": EmbeddedPostgres, "valkey": EmbeddedValkey}[sys.argv[1]](Path(sys.argv[2]))
server.goes_with_parent = sys.argv[3] == "goes"
server.start()
print(server.process.pid, flush=True)
os._exit(1)
"""


@pytest.fixture
def postgres_here(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres")
    yield server
    server.stop()


@pytest.fixture
def valkey_here(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path / "valkey")
    yield server
    server.stop()


async def run(server: EmbeddedPostgres, *statements: str) -> int:
    """Execute statements; the last one answers with a number."""
    connection = await asyncpg.connect(server.url())
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return await connection.fetchval(statements[-1])
    finally:
        await connection.close()


def client(server: EmbeddedValkey) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(server.socket), socket_timeout=5)


def vanish(kind: str, data: Path, how: str) -> int:
    """Start a server in a process that then dies without stopping it. Returns the server's PID."""
    done = subprocess.run(
        [sys.executable, "-c", START_AND_VANISH, kind, data, how],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    return int(done.stdout)


async def test_postgres_keeps_committed_rows_through_a_kill(postgres_here: EmbeddedPostgres) -> None:
    postgres_here.start()
    await run(postgres_here, "CREATE TABLE t (n int)", "INSERT INTO t VALUES (1)", "SELECT 1")
    for _ in range(3):
        postgres_here.kill()
        postgres_here.start()
    assert await run(postgres_here, "SELECT count(*) FROM t") == 1
    assert await run(postgres_here, "SELECT (current_setting('fsync') = 'on')::int") == 1


async def test_postgres_listens_on_a_private_socket_only(postgres_here: EmbeddedPostgres) -> None:
    postgres_here.start()
    assert postgres_here.process is not None
    assert stat.S_IMODE(postgres_here.sockets.stat().st_mode) == 0o700
    assert [c for c in psutil.Process(postgres_here.process.pid).net_connections("inet") if c.status == "LISTEN"] == []


async def test_an_orphaned_postgres_is_replaced(postgres_here: EmbeddedPostgres) -> None:
    orphan = vanish("postgres", postgres_here.data, "stays")
    assert psutil.pid_exists(orphan)
    postgres_here.start()
    assert not psutil.pid_exists(orphan)
    assert await run(postgres_here, "SELECT 1") == 1


async def test_a_frozen_orphan_is_replaced_too(postgres_here: EmbeddedPostgres) -> None:
    orphan = vanish("postgres", postgres_here.data, "stays")
    os.kill(orphan, signal.SIGSTOP)
    postgres_here.start()
    assert await run(postgres_here, "SELECT 1") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="macOS cannot tell a child that its parent died")
@pytest.mark.parametrize("kind", ["postgres", "valkey"])
def test_a_server_goes_with_its_parent(kind: str, tmp_path: Path) -> None:
    pid = vanish(kind, tmp_path / kind, "goes")
    if psutil.pid_exists(pid):
        psutil.Process(pid).wait(30)
    assert not psutil.pid_exists(pid)


async def test_a_stale_pid_file_does_no_harm(postgres_here: EmbeddedPostgres) -> None:
    postgres_here.start()
    postgres_here.kill()
    lines = (postgres_here.data / "postmaster.pid").read_text().splitlines()
    # The number now belongs to a stranger: this very test.
    (postgres_here.data / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    postgres_here.start()
    assert await run(postgres_here, "SELECT 1") == 1


async def test_a_half_made_cluster_is_made_anew(postgres_here: EmbeddedPostgres) -> None:
    half = postgres_here.data.with_name("postgres.new")
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    postgres_here.start()
    assert await run(postgres_here, "SELECT 1") == 1


def test_a_cluster_of_another_version_is_left_alone(postgres_here: EmbeddedPostgres) -> None:
    postgres_here.data.mkdir(parents=True)
    (postgres_here.data / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedServerError, match=r"version 12.*dump it"):
        postgres_here.start()


def test_what_keeps_a_server_from_starting_is_shown(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="no_such_setting"):
        EmbeddedPostgres(tmp_path / "data", {"no_such_setting": "1"}).start()


async def test_a_long_path_has_a_short_socket(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / ("long" * 30) / "postgres")
    server.start()
    try:
        assert len(str(server.sockets)) < SOCKET_PATH_LIMIT
        assert await run(server, "SELECT 1") == 1
    finally:
        server.stop()
        server.sockets.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give folders away")
def test_a_socket_folder_of_a_stranger_is_refused(postgres_here: EmbeddedPostgres) -> None:
    postgres_here.sockets.mkdir(parents=True)
    os.chown(postgres_here.sockets, pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(EmbeddedServerError, match="belongs to another user"):
        postgres_here.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="PostgreSQL runs as another user only for root")
async def test_root_may_use_a_folder_that_others_cannot_enter(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "home" / "postgres")
    server.start()
    try:
        assert server.process is not None
        assert psutil.Process(server.process.pid).uids().effective != 0
        assert psutil.Process(server.process.pid).gids().effective != 0
        assert stat.S_IMODE(closed.stat().st_mode) == 0o701
    finally:
        server.stop()


def test_valkey_keeps_its_keys_and_evicts_none(valkey_here: EmbeddedValkey) -> None:
    valkey_here.start()
    with client(valkey_here) as first:
        first.set("key", "value")
        assert first.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}  # pyright: ignore[reportUnknownMemberType] - redis-py leaves it untyped
    valkey_here.stop()
    valkey_here.start()
    with client(valkey_here) as second:
        assert second.get("key") == b"value"
        second.set("other", "value")
        second.execute_command("WAITAOF", 1, 0, 5000)  # pyright: ignore[reportUnknownMemberType] - redis-py leaves it untyped
    valkey_here.kill()
    valkey_here.start()
    with client(valkey_here) as third:
        assert third.get("other") == b"value"


def test_an_orphaned_valkey_is_replaced(valkey_here: EmbeddedValkey) -> None:
    orphan = vanish("valkey", valkey_here.data, "stays")
    valkey_here.start()
    assert not psutil.pid_exists(orphan)
    with client(valkey_here) as connection:
        assert connection.ping()  # pyright: ignore[reportUnknownMemberType] - redis-py leaves it untyped


def test_servers_may_be_stopped_twice_and_when_frozen(valkey_here: EmbeddedValkey) -> None:
    valkey_here.start()
    assert valkey_here.process is not None
    valkey_here.process.send_signal(signal.SIGSTOP)
    valkey_here.stop()
    valkey_here.stop()
    assert valkey_here.process.returncode == 0
