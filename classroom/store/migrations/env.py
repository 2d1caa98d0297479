"""Runs migrations on one connection of the engine that `classroom.store.record.open_engine` makes."""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy.engine import Connection

from classroom.store.record import open_engine
from classroom.store.tables import metadata


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite"
    )
    with context.begin_transaction():
        context.run_migrations()


async def main() -> None:
    engine = open_engine(context.config.attributes["database_url"])
    async with engine.connect() as plain:
        connection = await plain.execution_options(anke_writes=True)
        async with connection.begin():
            await connection.run_sync(migrate)
    await engine.dispose()


asyncio.run(main())
