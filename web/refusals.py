"""What a refused HTTP call answers: `{"error": {"code", "message", "message_en"}}`, Chinese sentence first.

The code is stable and is what programs compare; the sentences are for people.
"""

from __future__ import annotations

from typing import Any

import structlog
from quart import Quart, Response, jsonify
from quart_schema import RequestSchemaValidationError
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException

from classroom import ClassroomError, NotFound
from media import MediaError

log = structlog.get_logger(__name__)

# code → (HTTP status, Chinese, English)
SENTENCES: dict[str, tuple[int, str, str]] = {
    "sign_in_required": (401, "请先登录。", "Please sign in first."),
    "session_ended": (
        401,
        "登录已失效：您已退出，或该账号已在另一处登录。",
        "This session has ended: you signed out, or the account signed in elsewhere.",
    ),
    "locked_out": (
        429,
        "登录失败次数过多，请 15 分钟后再试。",
        "Too many failed attempts; try again in 15 minutes.",
    ),
    "foreign_origin": (403, "请求来自其他网站，已拒绝。", "The request came from another site and was refused."),
    # The record's own words: what may not be seen must answer exactly as what does not exist.
    "not_found": (404, NotFound.message, NotFound.message_en),
    "bad_request": (400, "请求的内容不正确。", "The request is not in the expected form."),
    "method_not_allowed": (405, "不支持这种请求方式。", "That method is not supported here."),
    "too_large": (413, "上传的内容太大。", "What was sent is too large."),
    "consent_required": (409, "请先阅读并同意人脸信息处理说明。", "Please read and accept the face notice first."),
    "face_unclear": (422, "照片不合格，请按提示重拍。", "The pictures do not serve; please take them again."),
    "enrolled_too_often": (
        429,
        "登记次数过多，请 10 分钟后再试；拍摄时请面向光线、只让自己入镜。",
        "Too many enrolments; try again in 10 minutes, facing the light and alone in the picture.",
    ),
    "judge_busy": (503, "人脸处理暂时繁忙，请稍后再试。", "Face processing is busy; please try again shortly."),
    "media_unavailable": (503, "音视频服务暂时不可用，正在恢复。", "The media service is away and will be back."),
    "try_again": (503, "服务正在恢复，请稍后再试。", "The service is recovering; please try again shortly."),
    "internal": (500, "服务器出错，已记录。", "Something failed on the server; it was recorded."),
    # Replay of a recording.
    "not_in_order": (403, "回放须按顺序观看，不能跳过。", "A replay is watched in order; nothing can be skipped."),
    "too_early": (425, "回放不能快于正常速度。", "A replay does not run faster than the clock."),
    "challenge_open": (403, "请先回答在线确认，再继续观看。", "Answer the attendance question to go on."),
    "wrong_state": (409, "当前状态下不能这样做。", "That cannot be done in the present state."),
}


class Refusal(Exception):
    """An expected no. `code` is a key of `SENTENCES`; `facts` are further members of the answer."""

    def __init__(self, code: str, *, headers: dict[str, str] | None = None, facts: dict[str, Any] | None = None):
        super().__init__(code)
        self.code = code
        self.headers = headers or {}
        self.facts = facts or {}


def refusal_response(code: str, *, detail: str | None = None, **facts: Any) -> Response:
    """The JSON answer of `code`. `detail` (of a validator, English) is added to the English sentence."""
    status, message, message_en = SENTENCES[code]
    english = f"{message_en} {detail}" if detail else message_en
    response: Response = jsonify({"error": {"code": code, "message": message, "message_en": english}, **facts})
    response.status_code = status
    return response


# The record's refusals bring their own sentences; only the HTTP status is decided here.
CLASSROOM_STATUS = {
    "sign_in_refused": 401,
    "not_found": 404,
    "wrong_state": 409,
    "stale_fence": 409,
    "consent_required": 409,
    "face_required": 409,
    "too_late": 409,
    "duplicate": 409,
    "bad_payload": 422,
    "locked_out": 429,
    "try_again": 503,
}

HTTP_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "bad_request"}


def install_refusals(app: Quart) -> None:
    """Turns every exception of a request into a coded answer; only unforeseen ones are logged with their trace."""

    @app.errorhandler(Refusal)
    async def refused(error: Refusal) -> Response:
        response = refusal_response(error.code, **error.facts)
        response.headers.update(error.headers)
        return response

    @app.errorhandler(RequestSchemaValidationError)
    async def unreadable(error: RequestSchemaValidationError) -> Response:
        return refusal_response("bad_request", detail=_first_complaint(error))

    @app.errorhandler(ClassroomError)
    async def classroom_refused(error: ClassroomError) -> Response:
        body = {"code": error.code, "message": error.message, "message_en": error.message_en}
        response: Response = jsonify({"error": body})
        response.status_code = CLASSROOM_STATUS.get(error.code, 409)
        return response

    @app.errorhandler(MediaError)
    async def media_refused(error: MediaError) -> Response:
        log.warning("media refused", reason=str(error))
        return refusal_response("media_unavailable")

    @app.errorhandler(OperationalError)
    async def record_away(error: OperationalError) -> Response:
        log.warning("record away", reason=str(error.orig))
        return refusal_response("try_again")

    @app.errorhandler(HTTPException)
    async def http_refused(error: HTTPException) -> Response:
        code = HTTP_CODES.get(error.code or 500, "internal")
        return refusal_response(code)

    @app.errorhandler(Exception)
    async def failed(error: Exception) -> Response:
        log.error("request failed", exc_info=error)
        return refusal_response("internal")


def _first_complaint(error: RequestSchemaValidationError) -> str | None:
    cause = error.validation_error
    complaints = getattr(cause, "errors", None)
    if not callable(complaints):
        return str(cause).splitlines()[0] if str(cause) else None
    first = complaints()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else str(first["msg"])
