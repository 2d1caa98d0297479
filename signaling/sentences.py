"""The sentence of every refusal, in Chinese and in English. Pages show these; programs read the code."""

from __future__ import annotations

from signaling.protocol import ErrorBody, ErrorCode

SENTENCES: dict[ErrorCode, tuple[str, str]] = {
    ErrorCode.SIGN_IN_REQUIRED: ("登录已失效，请重新登录。", "Your sign-in has ended; please sign in again."),
    ErrorCode.NOT_FOUND: ("没有找到，或您无权查看。", "It does not exist, or you may not see it."),
    ErrorCode.BAD_PAYLOAD: ("请求内容有误。", "The request was not understood."),
    ErrorCode.WRONG_STATE: ("现在不能进行此操作。", "This cannot be done at this moment."),
    ErrorCode.SEAT_TAKEN: (
        "您已在另一个窗口上课，本窗口已停止。",
        "You attend the class in another window; this one has stopped.",
    ),
    ErrorCode.CONSENT_REQUIRED: ("请先同意人脸信息处理告知书。", "Please give your consent to face checks first."),
    ErrorCode.FACE_REQUIRED: ("请先完成人脸采集。", "Please record your face first."),
    ErrorCode.TOO_LATE: ("已超过时限。", "The time for this is over."),
    ErrorCode.TOO_FAST: ("操作过于频繁，请稍候。", "Too many requests; please wait a moment."),
    ErrorCode.MEDIA_UNAVAILABLE: ("媒体服务暂不可用，正在恢复。", "The media server is away; it is being restored."),
    ErrorCode.FLOOR_FULL: (
        "已有三位学员在发言，请先收回一位的发言。",
        "Three learners have the floor already; take one back first.",
    ),
    ErrorCode.NO_HAND: (
        "该学员没有举手，或已放下。",
        "This learner has not raised a hand, or has lowered it.",
    ),
    ErrorCode.TRY_AGAIN: ("服务暂时繁忙，请重试。", "The server could not do it just now; please try again."),
}


class Refusal(Exception):
    """A call that is refused with a stable code. `detail` (Chinese, English) replaces the code's own sentence."""

    def __init__(self, code: ErrorCode, detail: tuple[str, str] | None = None) -> None:
        self.code = code
        self.sentence, self.sentence_en = detail or SENTENCES[code]
        super().__init__(f"{code.value}: {self.sentence_en}")

    def body(self) -> ErrorBody:
        return ErrorBody(code=self.code, message=self.sentence, message_en=self.sentence_en)
