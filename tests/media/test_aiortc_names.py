"""Private names of aiortc that this repository leans on, in one place: an upgrade fails here, and says what moved."""

from __future__ import annotations

import importlib.metadata
import inspect

import aiortc.rtcdtlstransport as theirs
from aiortc.codecs.h264 import H264PayloadDescriptor
from aiortc.codecs.vpx import VpxPayloadDescriptor

from media.dtls import AIORTC_NAMES, DatagramPipe, NodeCertificate


def test_the_pinned_version_is_installed() -> None:
    assert importlib.metadata.version("aiortc").startswith("1.16.")


def test_every_private_name_is_there() -> None:
    certificate = theirs.RTCCertificate.generateCertificate()
    profile = theirs.SRTP_AEAD_AES_128_GCM
    transport = theirs.RTCDtlsTransport(DatagramPipe(lambda data: None), [certificate])  # type: ignore[arg-type]
    for owner in (certificate, transport, profile):
        for name in AIORTC_NAMES[type(owner).__name__]:
            assert hasattr(owner, name), f"{type(owner).__name__}.{name}"


def test_overridden_methods_keep_their_shape() -> None:
    assert list(inspect.signature(theirs.RTCDtlsTransport._setup_srtp).parameters) == ["self"]
    signature = inspect.signature(theirs.RTCCertificate._create_ssl_context)
    assert list(signature.parameters) == ["self", "srtp_profiles"]
    # The state machine's own order: keys are exported between the identity check and CONNECTED.
    source = inspect.getsource(theirs.RTCDtlsTransport.start)
    assert source.index("_validate_peer_identity") < source.index("_setup_srtp") < source.index("State.CONNECTED")


def test_the_transport_wants_no_more_than_a_pipe_has() -> None:
    source = inspect.getsource(theirs.RTCDtlsTransport)
    used = {part.split("(")[0].split(",")[0].split(")")[0].strip() for part in source.split("self.transport.")[1:]}
    assert {name.split()[0] for name in used} == {"role", "_recv", "_send"}


def test_payload_descriptors_return_descriptor_and_rest() -> None:
    descriptor, rest = VpxPayloadDescriptor.parse(b"\x10rest")
    assert descriptor.partition_start == 1 and rest == b"rest"
    _, data = H264PayloadDescriptor.parse(b"\x65rest")
    assert data == b"\x00\x00\x00\x01\x65rest"


def test_one_context_serves_every_connection() -> None:
    certificate = NodeCertificate.generateCertificate()
    profiles = list(theirs.SRTP_PROFILES)
    assert certificate._create_ssl_context(profiles) is certificate._create_ssl_context(profiles)
