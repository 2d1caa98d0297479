"""What a visitor of the demo platform needs to know: whom to sign in as, and which lesson is in progress."""

from __future__ import annotations

from pydantic import BaseModel
from quart import Blueprint
from quart_schema import validate_response

from web.demo.cast import ACCOUNTS, CURRENT_LESSON_KEY
from web.parts import current_parts

blueprint = Blueprint("demo", __name__)


class DemoAccount(BaseModel):
    role: str
    login: str
    password: str
    name: str
    say: str
    say_en: str


class DemoAnswer(BaseModel):
    active: bool
    clock_factor: float
    accounts: list[DemoAccount]
    lesson_id: str | None


@blueprint.get("/api/demo")
@validate_response(DemoAnswer)
async def get_demo() -> DemoAnswer:
    """Outside a demo platform: inactive, and nobody is named."""
    parts = current_parts()
    if not parts.settings.demo:
        return DemoAnswer(active=False, clock_factor=1.0, accounts=[], lesson_id=None)
    lesson_id = await parts.redis.get(CURRENT_LESSON_KEY)
    return DemoAnswer(
        active=True,
        clock_factor=parts.settings.clock_factor,
        accounts=[
            DemoAccount(
                role=account.role,
                login=account.login,
                password=account.password,
                name=account.name,
                say=account.say,
                say_en=account.say_en,
            )
            for account in ACCOUNTS
        ],
        lesson_id=lesson_id.decode() if isinstance(lesson_id, bytes) else lesson_id,
    )
