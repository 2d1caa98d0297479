"""Who plays in the demo class: accounts, behaviours, and what each visitor account lets one see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Behaviour = Literal["honest", "impostor", "absentee"]

CURRENT_LESSON_KEY = "demo:lesson"  # Redis: id of the demo lesson in progress
STATE_KEY = "demo:state"  # Redis: ids of what was seeded
PASSWORD = "anke-demo-2026"  # shown on the sign-in page of a demo platform, and only there

ORGANISATION = "太行煤业集团（演示）"
COURSE = "矿山安全生产基础知识"
CLASS_TITLE = "2026 年第三期 从业人员再培训班（演示）"
PROFILE_ID = "shanxi-2021"


@dataclass(frozen=True)
class Account:
    """A person the visitor may sign in as."""

    role: str
    login: str
    name: str
    say: str
    say_en: str
    password: str = PASSWORD


@dataclass(frozen=True)
class Player:
    """A learner that a process plays. `index` picks the footage."""

    index: int
    login: str
    name: str
    behaviour: Behaviour


INSTRUCTOR = Account(
    "instructor",
    "teacher",
    "王建国",
    "进入直播间：看学员状态、推送随堂测试、结束课程",
    "The studio: roster with states, push a quiz, see answers arrive",
)
PROCTOR = Account(
    "proctor",
    "proctor",
    "李巡查",
    "进入监考墙：实时画面、最近核验结果，可立即抽查",
    "The wall: live pictures with their last verdict, demand a check",
)
ORGANISER = Account(
    "organiser", "organiser", "赵组织", "查看培训班、成绩榜、导出和复核", "The class, the score board, export and audit"
)
OPERATOR = Account(
    "operator",
    "operator",
    "孙运维",
    "查看媒体节点与每位观众：丢包、时延、清晰度、卡顿及原因",
    "Media nodes and every viewer: loss, delay, layer, freezes, and why",
)
VISITOR = Account(
    "learner",
    "learner",
    "周学员",
    "用自己的摄像头上课：设备检查、人脸登记、签到、答题、学时",
    "Attend with your own camera: device check, enrolment, pings, quiz, credit",
)
ACCOUNTS = (VISITOR, INSTRUCTOR, PROCTOR, ORGANISER, OPERATOR)

NAMES = (
    "陈立新",
    "刘志强",
    "杨秀英",
    "黄海涛",
    "吴桂兰",
    "徐国庆",
    "孙丽娟",
    "马晓东",
    "朱建军",
    "胡春梅",
    "郭永刚",
    "林俊杰",
)


def players(count: int = 12) -> list[Player]:
    """Honest learners first, then one impostor and one absentee: `count` in all, at least three."""
    honest: list[Behaviour] = ["honest"] * (count - 2)
    behaviours: list[Behaviour] = [*honest, "impostor", "absentee"]
    return [
        Player(index=index, login=f"learner{index + 1:02d}", name=NAMES[index], behaviour=behaviour)
        for index, behaviour in enumerate(behaviours)
    ]
