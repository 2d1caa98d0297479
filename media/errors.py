"""The one error of this package: a stable code, an HTTP status, a sentence in Chinese and in English."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Wording(NamedTuple):
    """What one code means to a caller: the HTTP status it answers with and its sentence in two languages."""

    status: int
    zh: str
    en: str


WORDINGS: Mapping[str, Wording] = MappingProxyType(
    {
        # Who is asking.
        "no_token": Wording(401, "缺少媒体令牌。", "The media token is missing."),
        "bad_token": Wording(401, "媒体令牌无效。", "The media token is not valid."),
        "expired_token": Wording(401, "媒体令牌已过期，请重新进入课堂。", "The media token has expired; join again."),
        "wrong_token": Wording(403, "该令牌不能用于此地址。", "This token does not cover this address."),
        "seat_ended": Wording(403, "该席位已结束。", "This seat has ended."),
        # What is asked.
        "not_sdp": Wording(415, "请求内容必须是 application/sdp。", "The request body must be application/sdp."),
        "too_large": Wording(413, "会话描述过大。", "The session description is too large."),
        "bad_sdp": Wording(400, "会话描述无法理解。", "The session description cannot be understood."),
        "no_ice": Wording(400, "会话描述缺少 ICE 用户名或密码。", "The session description lacks ICE credentials."),
        "no_fingerprint": Wording(
            400, "会话描述缺少可用的 DTLS 指纹。", "The session description lacks a usable DTLS fingerprint."
        ),
        "no_bundle": Wording(
            422, "所有媒体必须合用一个传输（BUNDLE）。", "All media must share one transport (BUNDLE)."
        ),
        "no_rtcp_mux": Wording(422, "必须使用 rtcp-mux。", "rtcp-mux is required."),
        "no_media": Wording(422, "没有可接受的音频或视频。", "There is no audio or video that can be accepted."),
        "bad_request": Wording(400, "请求格式不正确。", "The request is malformed."),
        "bad_name": Wording(400, "发布或订阅的标识不合规。", "The publication or subscription id is malformed."),
        # What is there.
        "no_session": Wording(404, "没有这个会话。", "There is no such session."),
        "no_publication": Wording(404, "没有这路发布。", "There is no such publication."),
        "no_subscription": Wording(404, "没有这个订阅。", "There is no such subscription."),
        "no_slot": Wording(404, "订阅中没有这个位置。", "The subscription has no such slot."),
        "no_video": Wording(409, "这路发布没有视频。", "The publication carries no video."),
        "stale_session": Wording(412, "会话已更换（ETag 不符）。", "The session has changed (ETag does not match)."),
        "no_precondition": Wording(
            428, "请求缺少 If-Match。", "The request needs an If-Match header (RFC 9725 4.3.1)."
        ),
        "bad_fragment": Wording(400, "ICE 片段无法理解。", "The ICE fragment cannot be understood."),
        # What cannot be done now.
        "no_keyframe": Wording(504, "限定时间内没有收到关键帧。", "No key frame arrived before the deadline."),
        "unknown_payload": Wording(
            422, "该编码的关键帧无法取出。", "A key frame of this codec cannot be taken out of its packets."
        ),
        "node_full": Wording(503, "媒体节点已满。", "This media node is full."),
        "node_draining": Wording(
            503, "媒体节点正在退出，请换用其他节点。", "This media node is being emptied; use another one."
        ),
        "no_link": Wording(409, "媒体节点之间没有可用的连接。", "There is no such link between these media nodes."),
        "no_node": Wording(503, "没有可用的媒体节点。", "No media node is available."),
        "control_refused": Wording(502, "媒体节点拒绝了控制请求。", "The media node refused the control request."),
    }
)


class MediaError(Exception):
    """Bad input, a refusal or a missing thing, with a stable `code` from `WORDINGS`.

    `detail` (English, for logs and developers) says what exactly was wrong, e.g. the SDP line.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        wording = WORDINGS[code]
        super().__init__(f"{code}: {detail or wording.en}")
        self.code = code
        self.detail = detail
        self.status = wording.status
        self.sentence = wording.en
        self.sentence_zh = wording.zh

    def to_dict(self) -> dict[str, dict[str, str]]:
        """The JSON body of an HTTP answer: `{"error": {"code", "message", "message_en", "detail"}}`."""
        return {
            "error": {
                "code": self.code,
                "message": self.sentence_zh,
                "message_en": self.sentence,
                "detail": self.detail,
            }
        }
