"""Rule profiles shipped with the platform, each number with its clause. Times are seconds."""

from __future__ import annotations

from datetime import date

from classroom.domain.profile import RuleProfile

_SHANXI = "晋应急发〔2021〕44号"
_AQ8011 = "AQ 8011-2023"
_OURS = "平台设定 (platform policy)"

SHANXI = RuleProfile(
    profile_id="shanxi-2021",
    version=1,
    title="山西省网络在线安全培训",
    title_en="Shanxi online work-safety training",
    province="140000",
    effective_from=date(2021, 2, 26),
    clauses={
        "seconds_per_hour": f"{_SHANXI}（十）每学时约45分钟; R-070; stricter than {_AQ8011} 4.4.4 (online ≥ 30 min)",
        "hour_unit": f"{_OURS}: 约45 is never rounded up; whole hours",
        "daily_cap_hours": f"{_SHANXI}（十）每天不超过6学时; R-071",
        "questions_per_hour": f"{_SHANXI}（十二）每课时结束时设置5道随堂测试题; R-081",
        "pass_score": f"{_SHANXI}（十三）测试成绩均在80分以上; R-090",
        "offline_share_numerator": f"{_SHANXI}（十一）线下培训不少于1/3学时; R-077",
        "offline_share_denominator": f"{_SHANXI}（十一）; 1/3 also satisfies {_AQ8011} (≥ 30 %)",
        "ping_interval_s": f"{_OURS} for {_SHANXI}（七）防止挂课; R-065",
        "ping_window_s": f"{_OURS} for {_SHANXI}（七）防止挂课; R-065",
        "face_interval_s": f"{_OURS} for {_SHANXI}（七）人脸识别、学习图像抓拍; R-057, R-058; P-017 asks ≤ 15 min",
        "relook_s": f"{_OURS} for {_SHANXI}（七）实时人离线断; R-063",
        "relook_window_s": f"{_OURS} for {_SHANXI}（七）实时人离线断; R-063",
        "unresolved_looks": f"{_OURS} for {_SHANXI}（七）防止代学; R-058, R-064",
        "max_gap_s": f"{_OURS} for {_SHANXI}（七）实时人离线断; R-063",
        "max_face_age_s": f"{_OURS}; P-017: driver training takes a snapshot every 15 min",
        "media_interval_s": _OURS,
        "media_slack_s": f"{_OURS} for {_SHANXI}（七）实时人离线断; R-063",
        "quiz_window_s": f"{_OURS} for {_SHANXI}（十二）随学随测; R-080",
        "reconnect_grace_s": f"{_OURS}; R-110: learners are back within 15 s of a fault, phones may need longer",
    },
)

AQ8011 = RuleProfile(
    profile_id="aq8011-2023",
    version=1,
    title="安全生产培训机构基本条件（全国底线）",
    title_en="National floor for work-safety training",
    province="000000",
    effective_from=date(2024, 7, 1),
    seconds_per_hour=1800.0,
    offline_share_numerator=3,
    offline_share_denominator=10,
    clauses={
        **SHANXI.clauses,
        "seconds_per_hour": f"{_AQ8011} 4.4.4: 线上每学时不少于30分钟; P-001",
        "offline_share_numerator": f"{_AQ8011}: 线下理论不少于30%; P-001",
        "offline_share_denominator": f"{_AQ8011}: 线下理论不少于30%; P-001",
    },
)

#: profile_id → profile
PROFILES: dict[str, RuleProfile] = {profile.profile_id: profile for profile in (SHANXI, AQ8011)}
