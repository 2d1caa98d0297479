"""The score board as a spreadsheet."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime, timedelta, timezone

from classroom.live import lesson_view, score_board
from classroom.store.record import Record
from classroom.views import LessonView, ScoreRow

_SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")
_HEADS = (
    ("姓名 Name", 16),
    ("状态 State", 12),
    ("计入秒数 Credited s", 16),
    ("学时 Hours", 10),
    ("应修秒数 Needed s", 16),
    ("在线秒数 Attended s", 16),
    ("签到 Pings", 14),
    ("人脸核验 Face checks", 32),
    ("随堂测试 Quiz", 14),
    ("未计入原因 Reasons", 40),
)


async def score_board_xlsx(record: Record, lesson_id: str) -> bytes:
    """An .xlsx file with one row per enrolled learner. Raises NotFound."""
    view = await lesson_view(record, lesson_id)
    rows = await score_board(record, lesson_id)
    return await asyncio.to_thread(_workbook, view, rows)


def _workbook(view: LessonView, rows: list[ScoreRow]) -> bytes:
    # Here and not above: openpyxl brings numpy along, and a web node that starts again must be quick.
    from openpyxl import Workbook
    from openpyxl.styles import Alignment, Font
    from openpyxl.utils import get_column_letter

    book = Workbook()
    sheet = book.active
    sheet.title = "成绩 Scores"
    sheet.append([f"{view.class_name} · {view.course} · {view.title}"])
    sheet.append([f"授课教师 Instructor: {view.instructor}", None, f"开始 Started: {_moment(view.started_at_ms)}"])
    factor = view.profile.clock_factor
    clock = "" if factor == 1 else f"; 演示时钟 demonstration clock ×{factor:g}"
    sheet.append([f"规则 Rules: {view.profile.title} {view.profile.title_en}{clock}"])
    sheet.append([title for title, _ in _HEADS])
    for cell in sheet[4]:
        cell.font = Font(bold=True)
        cell.alignment = Alignment(wrap_text=True)
    sheet["A1"].font = Font(bold=True, size=14)
    for row in rows:
        sheet.append(
            [
                _text(row.name),
                row.state,
                row.credited_s,
                row.hours,
                row.needed_s,
                row.attended_s,
                f"{row.pings['answered']}/{row.pings['sent']}",
                ", ".join(f"{outcome} {count}" for outcome, count in sorted(row.verdicts.items())),
                row.quiz_score,
                ", ".join(row.reasons),
            ]
        )
    for place, (_, width) in enumerate(_HEADS, start=1):
        sheet.column_dimensions[get_column_letter(place)].width = width
    sheet.freeze_panes = "B5"
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _moment(at_ms: int | None) -> str:
    if at_ms is None:
        return "—"
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(_SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")


def _text(value: str) -> str:
    """A name that begins like a formula must stay a name in a spreadsheet."""
    return "'" + value if value[:1] in "=+-@" else value
