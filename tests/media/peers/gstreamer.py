"""GStreamer's `webrtcbin` as a player; a program of its own for the system's Python, which has GStreamer's bindings.

The same commands as `commands.py` describes. Publishing is the part of `whip_client.py`.
"""

from __future__ import annotations

import json
import sys
import threading
import urllib.error
import urllib.request
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

AUDIO = "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,encoding-params=(string)2,payload=111"
VIDEO = ";".join(
    f"application/x-rtp,media=video,encoding-name={name},clock-rate=90000,payload={number}"
    for name, number in (("VP8", 96), ("H264", 98), ("VP9", 100))
)
AUDIBLE_DB = -40.0


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


class Player:
    """One `webrtcbin` in a pipeline of its own. Everything happens on GLib's main loop but the one HTTP request."""

    def __init__(self, number: int, url: str, token: str) -> None:
        self.number, self.url, self.token = number, url, token
        self.location = ""
        self.seen = {"pictures": 0, "width": 0, "sound": 0.0}
        self.pipeline = Gst.Pipeline()
        self.webrtc = Gst.ElementFactory.make("webrtcbin")
        self.webrtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(self.webrtc)
        self.webrtc.connect("pad-added", self._pad)
        self.webrtc.connect("notify::ice-gathering-state", self._gathering)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::element", self._level)
        direction = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
        for caps in (AUDIO, VIDEO):
            self.webrtc.emit("add-transceiver", direction, Gst.Caps.from_string(caps))
        self.pipeline.set_state(Gst.State.PLAYING)
        self.webrtc.emit("create-offer", None, Gst.Promise.new_with_change_func(self._offered))

    def _offered(self, promise: Any) -> None:
        # The offer lives inside the reply, which lives inside the promise: all three are held while it is used.
        reply = promise.get_reply()
        offer = reply.get_value("offer")
        self.webrtc.emit("set-local-description", offer, Gst.Promise.new())

    def _gathering(self, *_: object) -> None:
        if self.webrtc.get_property("ice-gathering-state") is GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            offer = self.webrtc.get_property("local-description").sdp.as_text()
            threading.Thread(target=self._post, args=(offer,), daemon=True).start()

    def _post(self, offer: str) -> None:
        headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(self.url, offer.encode(), headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                self.location = response.headers["Location"]
                GLib.idle_add(self._answered, response.read().decode())
        except OSError as error:
            say({"id": self.number, "error": str(error)})

    def _answered(self, answer: str) -> bool:
        _, message = GstSdp.SDPMessage.new_from_text(answer)
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.webrtc.emit("set-remote-description", description, Gst.Promise.new())
        say({"id": self.number, "result": self.number})
        return False

    def _pad(self, _: object, pad: Any) -> None:
        if pad.get_direction() is not Gst.PadDirection.SRC:
            return
        decoder = Gst.ElementFactory.make("decodebin")
        decoder.connect("pad-added", self._decoded)
        self.pipeline.add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))

    def _decoded(self, _: object, pad: Any) -> None:
        caps = pad.get_current_caps().get_structure(0)
        if caps.get_name().startswith("video/"):
            self.seen["width"] = caps.get_value("width")
            end = Gst.ElementFactory.make("fakesink")
            end.set_property("signal-handoffs", True)
            end.connect("handoff", self._picture)
            chain = [end]
        else:
            names = ("audioconvert", "level", "fakesink")
            chain = [Gst.ElementFactory.make(name) for name in names]
        for element in chain:
            self.pipeline.add(element)
        for before, after in zip(chain, chain[1:], strict=False):
            before.link(after)
        for element in reversed(chain):
            element.sync_state_with_parent()
        pad.link(chain[0].get_static_pad("sink"))

    def _picture(self, *_: object) -> None:
        self.seen["pictures"] += 1

    def _level(self, _: object, message: Any) -> None:
        structure = message.get_structure()
        if structure.get_name() == "level" and max(structure.get_value("rms")) > AUDIBLE_DB:
            self.seen["sound"] += 1.0

    def stop(self) -> None:
        self.pipeline.set_state(Gst.State.NULL)
        request = urllib.request.Request(
            self.location, headers={"Authorization": f"Bearer {self.token}"}, method="DELETE"
        )
        urllib.request.urlopen(request, timeout=10).close()


def main() -> None:
    Gst.init(None)
    loop = GLib.MainLoop()
    players: dict[int, Player] = {}

    def carry_out(command: dict[str, Any]) -> bool:
        number, verb = command["id"], command["do"]
        if verb == "play":
            players[number] = Player(number, command["url"], command["token"])
        elif verb == "seen":
            say({"id": number, "result": players[command["peer"]].seen})
        elif verb == "stop":
            players.pop(command["peer"]).stop()
            say({"id": number, "result": None})
        else:
            say({"id": number, "error": f"this peer does not {verb}"})
        return False

    def read() -> None:
        for line in sys.stdin:
            GLib.idle_add(carry_out, json.loads(line))
        GLib.idle_add(loop.quit)

    threading.Thread(target=read, daemon=True).start()
    say({"ready": Gst.version_string()})
    loop.run()


if __name__ == "__main__":
    main()
