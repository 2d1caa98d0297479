"""Offers of real clients in, answers that real parsers read out; nothing but MediaError for anything else."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given
from hypothesis import strategies as st

from media.errors import WORDINGS, MediaError
from media.publication import plan_ingests
from media.rtp_parameters import Direction, LocalTransport, Offer, Setup
from media.sdp import MAX_SDP_BYTES, parse_offer_untrusted
from media.sdp_answer import write_answer
from media.subscription import plan_slots
from media.tokens import SlotClaim

OFFERS = Path(__file__).parent / "offers"
NAMES = sorted(path.name for path in OFFERS.glob("*.sdp"))
PUBLISHING = [name for name in NAMES if "publish" in name]
LOCAL = LocalTransport(
    ice_ufrag="abcdefgh",
    ice_pwd="abcdefghabcdefghabcdefgh",
    fingerprint=("sha-256", ":".join(["AB"] * 32)),
    setup=Setup.PASSIVE,
    candidates=(("192.0.2.10", 8082), ("2001:db8::10", 8082)),
)


def load(name: str) -> bytes:
    return (OFFERS / name).read_bytes()


def offer(name: str) -> Offer:
    return parse_offer_untrusted(load(name))


def edited(name: str, *pairs: tuple[str, str]) -> bytes:
    text = load(name).decode()
    for old, new in pairs:
        assert old in text, f"{name} has no {old!r}"
        text = text.replace(old, new)
    return text.encode()


def refusal(data: bytes) -> str:
    with pytest.raises(MediaError) as raised:
        parse_offer_untrusted(data)
    return raised.value.code


def test_every_offer_has_its_origin() -> None:
    assert sorted(tomllib.loads((OFFERS / "INDEX.toml").read_text())) == NAMES


@pytest.mark.parametrize("name", PUBLISHING)
def test_each_encoder_can_publish_audio_and_video(name: str) -> None:
    planned = plan_ingests(offer(name))
    assert {parameters["kind"] for _, _, parameters in planned} == {"audio", "video"}
    for _, _, parameters in planned:
        assert parameters["codecs"], "an encoding without a codec would be silent"


def test_chromium_publish_is_read_exactly() -> None:
    parsed = offer("chromium_156_publish.sdp")
    audio, video = parsed.media
    assert f"a=ice-ufrag:{parsed.ice_ufrag}\r\n".encode() in load("chromium_156_publish.sdp")
    assert (parsed.setup, parsed.we_are_dtls_server) == (Setup.ACTPASS, True)
    assert [(codec.name, codec.payload_type) for codec in audio.codecs] == [("opus", 111)]
    assert audio.codecs[0].feedback == ("transport-cc",)
    # VP8 and H.264 first; of eight H.264 payload types the constrained baseline one with packetization-mode 1.
    assert [(codec.name, codec.payload_type, codec.rtx_payload_type) for codec in video.codecs] == [
        ("vp8", 96, 97),
        ("h264", 108, 109),
        ("av1", 45, 46),
        ("vp9", 98, 99),
    ]
    assert video.codecs[0].feedback == ("nack", "nack pli", "transport-cc")
    assert dict(video.extensions) == {"abs_send_time": 2, "transport_cc": 3, "mid": 4, "rid": 10, "repaired_rid": 11}
    assert dict(audio.extensions) == {"audio_level": 1, "abs_send_time": 2, "transport_cc": 3, "mid": 4}
    (pair,) = video.ssrcs
    assert pair[1] is not None and pair[0] != pair[1]


def test_simulcast_is_answered_with_rids_rfc_8853() -> None:
    parsed = offer("chromium_156_publish_simulcast.sdp")
    assert parsed.media[1].rids == ("l", "m", "h")
    rids = [(rid, parameters.get("rid")) for _, rid, parameters in plan_ingests(parsed)]
    assert rids == [(None, None), ("l", "l"), ("m", "m"), ("h", "h")]
    answer = write_answer(parsed, LOCAL, 1, 1).split("\r\n")
    assert [line for line in answer if line.startswith("a=rid:")] == ["a=rid:l recv", "a=rid:m recv", "a=rid:h recv"]
    assert "a=simulcast:recv l;m;h" in answer


def test_a_viewer_reports_arrivals_or_else_tells_a_bit_rate() -> None:
    def answered(name: str) -> set[str]:
        parsed = offer(name)
        sending = {} if "play" in name else None
        lines = write_answer(parsed, LOCAL, 1, 1, sending).split("\r\n")
        return {line.split(" ", 1)[1] for line in lines if line.startswith("a=rtcp-fb:")}

    assert "transport-cc" in answered("chromium_156_play.sdp")
    assert "goog-remb" not in answered("chromium_156_play.sdp")
    assert "goog-remb" in answered("aiortc_1_16_play.sdp")
    assert "goog-remb" not in answered("aiortc_1_16_publish.sdp"), "we tell publishers none"


def test_pyav_whip_wants_us_as_dtls_client() -> None:
    parsed = offer("pyav_18_whip_publish.sdp")
    assert parsed.setup is Setup.PASSIVE and not parsed.we_are_dtls_server
    assert [codec.name for line in parsed.media for codec in line.codecs] == ["opus", "h264"]
    assert parsed.media[1].extensions == ()


def test_bundle_only_lines_are_used_rfc_8843() -> None:
    for name in ("gstreamer_1_22_publish.sdp", "gstreamer_1_22_play.sdp"):
        parsed = offer(name)
        assert b" 0 UDP/TLS/RTP/SAVPF" in load(name)
        assert not any(line.rejected for line in parsed.media)
        answer = write_answer(parsed, LOCAL, 1, 1)
        assert answer.count(" 9 UDP/TLS/RTP/SAVPF") == 2 and " 0 UDP/TLS/RTP/SAVPF" not in answer


def test_port_0_without_bundle_only_is_a_refusal_rfc_3264() -> None:
    parsed = parse_offer_untrusted(edited("gstreamer_1_22_publish.sdp", ("a=bundle-only\r\n", "")))
    assert [line.rejected for line in parsed.media] == [False, True]


def test_rtcp_mux_on_one_line_of_the_bundle_is_enough() -> None:
    head, tail = load("gstreamer_1_22_publish.sdp").decode().split("m=audio")
    bare = tail.replace("a=rtcp-mux\r\n", "").replace("a=rtcp-mux-only\r\n", "")
    assert len(plan_ingests(parse_offer_untrusted(f"{head}m=audio{bare}".encode()))) == 2


def test_transport_attributes_may_stand_on_a_line_that_is_rejected() -> None:
    """A data channel first: it is refused, and alone it has what the bundle-only lines after it go without."""
    text = load("chromium_156_publish.sdp").decode()
    transport = [line for line in text.split("\r\n") if line.startswith(("a=ice-", "a=fingerprint", "a=setup"))]
    bare = "\r\n".join(line for line in text.split("\r\n") if line not in transport)
    channel = ["m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", *transport[:5], "a=mid:data", ""]
    place = bare.index("m=audio")
    whole = (bare[:place] + "\r\n".join(channel) + bare[place:]).replace("BUNDLE 0 1", "BUNDLE data 0 1")
    parsed = parse_offer_untrusted(whole.encode())
    original = offer("chromium_156_publish.sdp")
    assert parsed.ice_ufrag == original.ice_ufrag and parsed.fingerprints == original.fingerprints
    assert [line.rejected for line in parsed.media] == [True, False, False]
    assert "a=group:BUNDLE 0 1\r\n" in write_answer(parsed, LOCAL, 1, 1)


def test_lines_without_mid_are_named_by_their_place() -> None:
    parsed = parse_offer_untrusted(edited("obs_30_publish_shaped.sdp", ("a=mid:0\n", ""), ("a=mid:1\n", "")))
    assert [line.mid for line in parsed.media] == ["0", "1"] and all(line.bundled for line in parsed.media)
    taken = parse_offer_untrusted(
        edited("obs_30_publish_shaped.sdp", ("a=mid:0\n", "a=mid:x\n"), ("a=mid:1\n", ""), ("BUNDLE 0", "BUNDLE x"))
    )
    assert [line.mid for line in taken.media] == ["x", "1"]


def test_setup_active_leaves_us_passive_rfc_5763() -> None:
    parsed = parse_offer_untrusted(edited("obs_30_publish_shaped.sdp", ("a=setup:actpass", "a=setup:ACTIVE")))
    assert parsed.setup is Setup.ACTIVE and parsed.we_are_dtls_server


def test_letter_case_does_not_matter_where_stacks_differ() -> None:
    text = load("gstreamer_1_22_publish.sdp").decode()
    shouted = text.replace("VP8/90000", "vp8/90000").replace("nack pli", "NACK PLI").replace("a=rtpmap", "a=RTPMAP")
    shouted = shouted.replace("UDP/TLS/RTP/SAVPF", "udp/tls/rtp/savpf").replace("m=video", "m=Video")
    parsed, plain = parse_offer_untrusted(shouted.encode()), offer("gstreamer_1_22_publish.sdp")
    assert [codec.feedback for line in parsed.media for codec in line.codecs] == [
        codec.feedback for line in plain.media for codec in line.codecs
    ]


def test_fir_is_taken_where_there_is_no_pli_rfc_5104() -> None:
    video = offer("gstreamer_1_22_publish.sdp").media[0]
    assert video.has_feedback("nack pli") and not video.has_feedback("ccm fir")
    parsed = parse_offer_untrusted(edited("gstreamer_1_22_publish.sdp", ("a=rtcp-fb:96 nack pli\r\n", "")))
    video_ingest = next(parameters for _, _, parameters in plan_ingests(parsed) if parameters["kind"] == "video")
    assert (video_ingest["pli"], video_ingest["fir"]) == (False, True)
    answer = write_answer(parsed, LOCAL, 1, 1)
    assert "a=rtcp-fb:96 ccm fir\r\n" in answer and "nack pli" not in answer


def test_simulcast_as_written_before_rfc_8853() -> None:
    old = edited("wrtc_0_9_publish.sdp", ("a=simulcast:send l;h", "a=simulcast: send rid=l;h"))
    assert parse_offer_untrusted(old).media[1].rids == ("l", "h")


def test_session_level_ice_and_dtls_are_taken() -> None:
    parsed = offer("obs_30_publish_shaped.sdp")
    assert (parsed.ice_ufrag, parsed.fingerprints[0][0]) == ("Qz7f", "sha-256")
    assert [codec.name for line in parsed.media for codec in line.codecs] == ["opus", "h264"]


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_read_by_another_parser(name: str) -> None:
    parsed = offer(name)
    answer = SessionDescription.parse(write_answer(parsed, LOCAL, 7, 1))
    assert len(answer.media) == len(parsed.media)
    for ours, theirs in zip(answer.media, parsed.media, strict=True):
        assert ours.rtp.muxId == theirs.mid
        assert ours.ice.iceLite and ours.ice.usernameFragment == "abcdefgh"
        assert ours.dtls is not None and ours.dtls.role == "server"
        assert ours.direction == (Direction.RECVONLY if theirs.sends else Direction.INACTIVE)
    first = answer.media[0]
    assert [(item.ip, item.port, item.type) for item in first.ice_candidates] == [
        ("192.0.2.10", 8082, "host"),
        ("2001:db8::10", 8082, "host"),
    ]
    assert first.ice_candidates_complete
    assert answer.group[0].items == [line.mid for line in parsed.media]


def test_slots_take_the_offers_lines_in_order_and_the_rest_is_inactive() -> None:
    parsed = offer("chromium_156_play.sdp")
    claims = (
        SlotClaim("audio", "audio", "l1.lecture"),
        SlotClaim("camera", "video", "l1.lecture"),
        SlotClaim("nothing", "audio", None),
    )
    ssrcs = iter(range(1000, 2000))
    planned = plan_slots(parsed, claims, lambda: next(ssrcs))
    assert [(item.name, item.line.mid) for item in planned] == [("audio", "0"), ("camera", "1")]
    answer = SessionDescription.parse(
        write_answer(parsed, LOCAL, 7, 1, {item.line.index: item.sending for item in planned})
    )
    assert [line.direction for line in answer.media] == ["sendonly", "sendonly", "inactive"]
    assert [[item.ssrc for item in line.ssrc] for line in answer.media] == [[1000], [1001, 1002], []]
    # One publication, one stream: that is what a browser keeps in lip-sync.
    assert [line.msid for line in answer.media[:2]] == ["audio audio", "audio camera"]


def test_a_token_without_a_matching_line_is_refused() -> None:
    with pytest.raises(MediaError, match="no_media"):
        plan_slots(offer("chromium_156_play.sdp"), (), lambda: 1)
    with pytest.raises(MediaError, match="no_media"):
        plan_ingests(offer("chromium_156_play.sdp"))


def test_unusable_lines_are_rejected_with_port_0() -> None:
    data = load("chromium_156_publish.sdp") + (
        b"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\na=sctp-port:5000\r\n"
        b"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:3\r\na=rtpmap:0 PCMU/8000\r\n"
    )
    parsed = parse_offer_untrusted(data)
    answer = write_answer(parsed, LOCAL, 1, 1).split("\r\n")
    assert "m=application 0 UDP/DTLS/SCTP webrtc-datachannel" in answer
    assert "m=audio 0 UDP/TLS/RTP/SAVPF 0" in answer
    assert "a=group:BUNDLE 0 1" in answer


@pytest.mark.parametrize("profile", ["42e01f", "42001f", "4d0032", "640c1f", "nonsense"])
def test_odd_h264_profiles_are_tolerated(profile: str) -> None:
    parsed = parse_offer_untrusted(edited("obs_30_publish_shaped.sdp", ("42e01f", profile)))
    assert parsed.media[1].codecs[0].name == "h264"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("v=0", "v=1", "bad_sdp"),
        ("a=rtcp-mux\n", "", "no_rtcp_mux"),
        ("a=group:BUNDLE 0 1", "a=group:BUNDLE 0", "no_bundle"),
        ("a=ice-ufrag:Qz7f", "a=ice-ufrag:x", "no_ice"),
        ("a=ice-pwd:k2bV9cXw0TnYs4LdHq8RmJ", "a=x:y", "no_ice"),
        ("a=fingerprint:sha-256 00:", "a=fingerprint:sha-256 ", "bad_sdp"),
        ("a=fingerprint:sha-256", "a=fingerprint:sha-1", "no_fingerprint"),
        ("a=setup:actpass", "a=setup:holdconn", "bad_sdp"),
        ("a=mid:1", "a=mid:0", "bad_sdp"),
        ("a=rtpmap:96 H264/90000", "a=rtpmap:96 H264", "bad_sdp"),
        ("a=rtpmap:96 H264/90000", "a=rtpmap:wat H264/90000", "bad_sdp"),
        ("m=video 9 UDP/TLS/RTP/SAVPF 96", "m=video nine UDP/TLS/RTP/SAVPF 96", "bad_sdp"),
        ("a=ssrc:1902", "a=ssrc:99999999999", "bad_sdp"),
        ("a=sendonly", "nonsense", "bad_sdp"),
        ("SAVPF", "AVPF", "no_media"),
    ],
)
def test_bad_offers_have_stable_codes(old: str, new: str, code: str) -> None:
    data = edited("obs_30_publish_shaped.sdp", (old, new))
    assert refusal(data) == code
    assert 400 <= WORDINGS[code].status < 500


def test_offers_are_bounded() -> None:
    assert refusal(b"v=0\r\n" + b"a=x\r\n" * (MAX_SDP_BYTES // 5)) == "too_large"
    line = b"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
    assert refusal(b"v=0\r\n" + line * 97) == "bad_sdp"
    assert refusal(b"") == "bad_sdp"
    assert refusal(b"\xff\xfe") == "bad_sdp"


@pytest.mark.parametrize("name", ["pyav_18_whip_publish.sdp", "obs_30_publish_shaped.sdp", "aiortc_1_16_play.sdp"])
def test_truncated_at_every_length(name: str) -> None:
    data = load(name)
    for length in range(len(data)):
        try:
            parse_offer_untrusted(data[:length])
        except MediaError as error:
            assert error.code in WORDINGS


@given(st.data())
def test_mangled_offers_only_raise_media_error(data: st.DataObject) -> None:
    lines = load(data.draw(st.sampled_from(NAMES))).split(b"\r\n")
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(lines) - 1))
        action = data.draw(st.sampled_from(["drop", "repeat", "noise", "cut", "digits"]))
        if action == "drop":
            lines[place] = b""
        elif action == "repeat":
            lines.insert(place, lines[place])
        elif action == "noise":
            lines[place] = lines[place][:2] + data.draw(st.binary(max_size=40))
        elif action == "cut":
            lines[place] = lines[place][: data.draw(st.integers(0, 12))]
        else:
            lines[place] = lines[place].replace(b"1", b"-9999999999999999999")
    mangled = b"\r\n".join(lines)
    try:
        parsed = parse_offer_untrusted(mangled)
        write_answer(parsed, LOCAL, 1, 1)
        plan_ingests(parsed)
    except MediaError as error:
        assert 400 <= error.status < 500


@pytest.mark.parametrize("name", NAMES)
def test_tcp_candidates_follow_those_on_udp_and_rank_below_them_rfc_6544(name: str) -> None:
    lines = write_answer(offer(name), replace(LOCAL, tcp=True), 1, 1).split("\r\n")
    candidates = [line.split() for line in lines if line.startswith("a=candidate:")]
    assert {tuple(item[2:3] + item[4:5] + item[7:]) for item in candidates} == {
        ("udp", "192.0.2.10", "host"),
        ("udp", "2001:db8::10", "host"),
        ("tcp", "192.0.2.10", "host", "tcptype", "passive"),
        ("tcp", "2001:db8::10", "host", "tcptype", "passive"),
    }
    assert [item[2] for item in candidates[:4]] == ["udp", "udp", "tcp", "tcp"]
    priorities = [int(item[3]) for item in candidates[:4]]
    assert priorities == sorted(set(priorities), reverse=True) and max(priorities) < 1 << 31
    assert len({item[0] for item in candidates}) == 4, "foundations differ"
