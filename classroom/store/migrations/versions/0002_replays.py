"""Replays: how far each learner is in each recording, and how much they may be handed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "replays",
        sa.Column("lesson_id", sa.String(length=40), nullable=False),
        sa.Column("person_id", sa.String(length=40), nullable=False),
        sa.Column("replay_id", sa.String(length=40), nullable=False),
        sa.Column("issued", sa.Integer(), nullable=False),
        sa.Column("issued_ms", sa.Float(), nullable=False),
        sa.Column("confirmed", sa.Integer(), nullable=False),
        sa.Column("confirmed_ms", sa.Float(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("challenge_id", sa.String(length=40), nullable=False),
        sa.Column("challenge_opened_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("challenge_closes_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["lesson_id"], ["lessons.id"], name=op.f("fk_replays_lesson_id")),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_replays_person_id")),
        sa.PrimaryKeyConstraint("lesson_id", "person_id", name=op.f("pk_replays")),
    )
    op.create_index("ix_replays_replay_id", "replays", ["replay_id"])
    op.create_table(
        "replay_allowances",
        sa.Column("person_id", sa.String(length=40), nullable=False),
        sa.Column("ms", sa.Float(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name=op.f("fk_replay_allowances_person_id")),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_replay_allowances")),
    )
    op.create_index("ix_replays_person_id", "replays", ["person_id"])


def downgrade() -> None:
    op.drop_table("replay_allowances")
    op.drop_table("replays")
