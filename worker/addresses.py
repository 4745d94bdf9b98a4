"""Where PostgreSQL and Redis are: as configured, or the embedded servers of `billing up` on the same BILLING_HOME."""

from worker.home import Home
from worker.settings import Settings


def database_url(settings: Settings) -> str:
    """`DATABASE_URL`, else the embedded PostgreSQL's address (whether or not it runs)."""
    return settings.database_url or Home(settings.billing_home).postgres().url()


def redis_url(settings: Settings) -> str:
    """`REDIS_URL`, else the embedded Valkey's address (whether or not it runs)."""
    return settings.redis_url or Home(settings.billing_home).valkey().url
