"""Consent to face processing: separate, informed, withdrawable (Personal Information Protection Law 14, 15, 29)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from quart import Blueprint
from quart_schema import validate_request, validate_response

from classroom import give_consent, withdraw_consent
from web.auth import current_actor
from web.face_templates import delete_template
from web.parts import current_parts
from web.refusals import Refusal

open_blueprint = Blueprint("consent_text", __name__)
blueprint = Blueprint("consents", __name__)

FACE_PURPOSE = "face"
TEXT_VERSION = "face-2026-1"
TEXT_ZH = (
    "为核实是您本人在上课，本平台在您报名时采集三张正面照片，生成人脸特征模板；上课期间服务器会在随机时刻从您的摄像头画面中"
    "截取单帧进行比对。模板以 AES-256-GCM 加密保存，密钥另行保管，只用于学时核验；截取的画面在比对后两分钟内删除，"
    "只保留其摘要值和比对结果。您可以随时撤回同意，撤回后模板立即删除；撤回前已形成的学时记录不受影响。"
    "不同意采集人脸信息的，可联系使用单位改为线下核验。"
)
TEXT_EN = (
    "To confirm that it is you who attends, three frontal pictures are taken when you enrol and a face template is "
    "made from them. During class the server takes single frames of your camera at random moments and compares them. "
    "The template is kept encrypted (AES-256-GCM, key kept apart) and serves only this purpose; a frame is deleted "
    "within two minutes, only its digest and the result remain. You may withdraw at any time: the template is deleted "
    "at once, hours already recorded stay. If you do not agree, ask your organiser for a check in person."
)


class ConsentForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    purpose: Literal["face"]
    version: str = Field(min_length=1, max_length=40)


class ConsentText(BaseModel):
    version: str
    zh: str
    en: str


class ConsentAnswer(BaseModel):
    purpose: str
    given: bool


@open_blueprint.get("/api/consents/text")
@validate_response(ConsentText)
async def get_text() -> ConsentText:
    return ConsentText(version=TEXT_VERSION, zh=TEXT_ZH, en=TEXT_EN)


@blueprint.post("/api/consents")
@validate_request(ConsentForm)
@validate_response(ConsentAnswer)
async def post_consent(data: ConsentForm) -> ConsentAnswer:
    if data.version != TEXT_VERSION:
        # Agreeing to a text that is no longer the current one is no informed consent.
        raise Refusal("wrong_state")
    await give_consent(current_parts().record, current_actor().person_id, data.purpose, data.version)
    return ConsentAnswer(purpose=data.purpose, given=True)


@blueprint.delete("/api/consents/<purpose>")
@validate_response(ConsentAnswer)
async def delete_consent(purpose: str) -> ConsentAnswer:
    if purpose != FACE_PURPOSE:
        raise Refusal("not_found")
    parts, person_id = current_parts(), current_actor().person_id
    await withdraw_consent(parts.record, person_id, purpose)
    await delete_template(parts, person_id)
    return ConsentAnswer(purpose=purpose, given=False)
