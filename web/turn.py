"""coturn beside the media node: the way in for learners whose network lets neither UDP nor our ports through.

It relays to the media node's addresses and nowhere else, for people who hold a credential of the last hours.
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from media.listening import in_url, interface_addresses
from web.child import ChildPlan
from web.settings import WILDCARDS, Settings

REALM = "anke"
# A page has three connections; each tries two or three ways to the server, and a restart tries them again beside those.
ALLOCATIONS_PER_PERSON = 24
# Octets per second and direction of one allocation: a wall of 25 cameras and a lecture is 8 Mbit/s.
ALLOCATION_MAX_BYTES_PER_S = 1_250_000
TOTAL_MAX_BYTES_PER_S = 125_000_000
SELF_SIGNED_DAYS = 825


def turn_binary() -> str | None:
    """coturn's server where it is installed. Debian puts it where an ordinary user's PATH may not look."""
    return shutil.which("turnserver") or shutil.which("turnserver", path="/usr/sbin:/usr/local/sbin:/usr/local/bin")


def with_turn(settings: Settings) -> Settings:
    """The settings that every part gets when `anke up` runs coturn itself; unchanged where it does not."""
    if not runs_turn(settings):
        return settings
    return settings.model_copy(update={"turn_urls": turn_urls(settings)})


def runs_turn(settings: Settings) -> bool:
    return settings.turn and not settings.turn_urls and turn_binary() is not None


def turn_urls(settings: Settings) -> list[str]:
    """How clients reach our child. TLS is named only with a certificate that browsers can trust, since they refuse any
    other; the port is served with a self-signed one all the same."""
    host = in_url(_names(settings)[0])
    urls = [f"turn:{host}:{settings.turn_port}?transport=udp", f"turn:{host}:{settings.turn_port}?transport=tcp"]
    if settings.turn_certificate is not None:
        name = settings.turn_host or host
        urls.append(f"turns:{name}:{settings.turn_tls_port}?transport=tcp")
    return urls


def _names(settings: Settings) -> list[str]:
    """The addresses of the media node and of coturn beside it, as the node announces them."""
    versions = {"0.0.0.0": (4,), "::": (4, 6)}.get(settings.host, ())
    return settings.media_ips or [address for version in versions for address in interface_addresses(version)]


def turn_plan(settings: Settings) -> ChildPlan:
    """The child of `anke up`. Call only where `runs_turn`."""
    binary = turn_binary()
    assert binary is not None, "runs_turn() said so"
    return ChildPlan("turn", [binary, "-c", str(write_turn_configuration(settings))])


def write_turn_configuration(settings: Settings) -> Path:
    """coturn's configuration, readable by its owner only since it holds the shared secret."""
    folder = settings.data_dir / "turn"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    certificate, private_key = settings.turn_certificate, settings.turn_private_key
    if certificate is None or private_key is None:
        certificate, private_key = make_self_signed(folder, _names(settings))
    peers = _names(settings)
    lines = [
        f"listening-port={settings.turn_port}",
        f"tls-listening-port={settings.turn_tls_port}",
        f"min-port={settings.turn_first_relay_port}",
        f"max-port={settings.turn_last_relay_port}",
        f"realm={REALM}",
        "use-auth-secret",
        f"static-auth-secret={settings.keys.turn}",
        "fingerprint",
        f"cert={certificate}",
        f"pkey={private_key}",
        "no-tlsv1",
        "no-tlsv1_1",
        "no-dtls",
        "no-cli",
        "no-rfc5780",
        "no-multicast-peers",
        # Relaying over TCP to peers would reach services; media are UDP.
        "no-tcp-relay",
        "denied-peer-ip=0.0.0.0-255.255.255.255",
        "denied-peer-ip=::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        *(f"allowed-peer-ip={peer}" for peer in peers),
        f"user-quota={ALLOCATIONS_PER_PERSON}",
        f"total-quota={settings.turn_last_relay_port - settings.turn_first_relay_port + 1}",
        f"max-bps={ALLOCATION_MAX_BYTES_PER_S}",
        f"bps-capacity={TOTAL_MAX_BYTES_PER_S}",
        "stale-nonce=3600",
        "log-file=stdout",
        "simple-log",
        f"pidfile={folder / 'turnserver.pid'}",
        f"userdb={folder / 'turndb'}",
    ]
    if settings.host not in WILDCARDS:
        lines += [f"listening-ip={settings.host}", f"relay-ip={settings.host}"]
    if ":" in settings.host and settings.host not in WILDCARDS:
        # Browsers name no family; coturn then takes IPv4, which this machine is not to use.
        lines.append("allocation-default-address-family=keep")
    if any(ip_address(peer).is_loopback for peer in peers):
        lines.append("allow-loopback-peers")  # this machine's demo: the media node listens nowhere else
    path = folder / "turnserver.conf"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("\n".join(lines) + "\n")
    return path


def make_self_signed(folder: Path, names: list[str]) -> tuple[Path, Path]:
    """A certificate for these addresses (made once for each set of them) and its key."""
    certificate, private_key = folder / "self-signed.pem", folder / "self-signed.key"
    wanted = [x509.IPAddress(ip_address(name)) for name in names]
    if certificate.exists() and private_key.exists():
        held = x509.load_pem_x509_certificate(certificate.read_bytes())
        named = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if list(named) == wanted and held.not_valid_after_utc > datetime.now(UTC) + timedelta(days=30):
            return certificate, private_key
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Anke TURN")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName(wanted), critical=False)
        .sign(key, SHA256())
    )
    descriptor = os.open(private_key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    return certificate, private_key
