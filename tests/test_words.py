"""Every coded reason, advice and outcome that the rules can give has words in both languages of the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from classroom.domain import attendance, caps, credit
from classroom.domain.evidence import Outcome

LOCALES = Path(__file__).resolve().parents[1] / "web" / "ui" / "src" / "locales"


def _section(locale: str, name: str) -> set[str]:
    text = "".join(path.read_text() for path in sorted(LOCALES.glob(f"*{locale}.ts")))
    found = re.search(rf"^  {name}: {{\n(.*?)^  }},", text, flags=re.MULTILINE | re.DOTALL)
    assert found is not None, f"{locale} has no section {name}"
    return set(re.findall(r"^    (\w+):", found.group(1), flags=re.MULTILINE))


@pytest.mark.parametrize("locale", ["zh-CN", "en"])
def test_reasons_advice_and_outcomes_have_words(locale: str) -> None:
    reasons = {*attendance.SEVERITY, caps.OTHER_LESSON, caps.DAILY_CAP, caps.COURSE_COMPLETE}
    reasons |= {credit.NOT_CONFIRMED, credit.NOT_CONNECTED, credit.GAP_TOO_LONG, credit.SERVER_FAULT, credit.WITHHELD}
    reasons.add(credit.AFTER_LAST_EVIDENCE)
    assert reasons - _section(locale, "reason") == set()
    assert {*credit._ASKS.values(), "reconnect"} - _section(locale, "advice") == set()
    assert {outcome.value for outcome in Outcome} - _section(locale, "outcome") == set()


@pytest.mark.parametrize("locale", ["zh-CN", "en"])
def test_every_reason_for_what_a_slot_shows_has_words(locale: str) -> None:
    from media.overview import WHY
    from web.api.operations import DEVICE_SLOW, FROZE

    assert {*WHY, DEVICE_SLOW, FROZE} - _section(locale, "why") == set()
    calm = {"best", "nothing_asked", "no_source", "slot_small"}
    assert {*WHY, DEVICE_SLOW, FROZE} - calm - _section(locale, "whyShort") == set()
