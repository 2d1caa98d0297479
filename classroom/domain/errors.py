"""What may be refused: one exception class per stable code, each with a Chinese and an English sentence."""

from __future__ import annotations


class ClassroomError(Exception):
    """A refused action. `code` is stable and for machines; `message` (Chinese) and `message_en` are for people."""

    code = "refused"
    message = "操作被拒绝。"
    message_en = "The action was refused."

    def __init__(self, message: str | None = None, message_en: str | None = None) -> None:
        if message is not None:
            self.message = message
        if message_en is not None:
            self.message_en = message_en
        super().__init__(f"{self.code}: {self.message_en}")


class NotFound(ClassroomError):
    """Absent and forbidden answer alike, so that nobody can probe for what exists."""

    code = "not_found"
    message = "没有找到，或您无权查看。"
    message_en = "Not found, or not yours to see."


class WrongState(ClassroomError):
    code = "wrong_state"
    message = "课堂当前状态不允许此操作。"
    message_en = "The class is not in a state that allows this."


class StaleFence(ClassroomError):
    """The caller's conductor lease was taken over by another node: its write must not count."""

    code = "stale_fence"
    message = "本节点已不再主持该课堂。"
    message_en = "This node no longer conducts the lesson."


class SignInRefused(ClassroomError):
    code = "sign_in_refused"
    message = "账号或密码不正确。"
    message_en = "The login or the password is not right."


class LockedOut(ClassroomError):
    """Too many failed sign-ins (GB/T 22239 8.1.4.1 b, P-041)."""

    code = "locked_out"
    message = "登录失败次数过多，请十五分钟后再试。"
    message_en = "Too many failed sign-ins; try again in fifteen minutes."


class ConsentRequired(ClassroomError):
    """No consent, no frame leaves for matching (P-030)."""

    code = "consent_required"
    message = "学员尚未同意人脸识别。"
    message_en = "The learner has not consented to face recognition."


class FaceRequired(ClassroomError):
    code = "face_required"
    message = "学员尚未登记人脸。"
    message_en = "The learner has no enrolled face."


class TooLate(ClassroomError):
    code = "too_late"
    message = "已经截止。"
    message_en = "It has already closed."


class BadInput(ClassroomError):
    code = "bad_payload"
    message = "提交的内容不正确。"
    message_en = "What was sent is not right."


class Duplicate(ClassroomError):
    code = "duplicate"
    message = "已存在相同的记录。"
    message_en = "There is already such a record."


class TryAgain(ClassroomError):
    """The database refused a transaction several times in a row (locks); nothing was written."""

    code = "try_again"
    message = "系统繁忙，请稍后重试。"
    message_en = "The system is busy; please try again."
