"""Alembic's entry: migrates the database that `db.migrate` hands over, one history line, with a lock timeout."""

from alembic import context

from db.models import all_tables

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=all_tables.metadata,
    compare_type=True,
    include_name=all_tables.has_model,
)
with context.begin_transaction():
    context.run_migrations()
