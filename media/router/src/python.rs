//! The Python face (`media/_router.pyi`): converts values, releases the GIL, holds no logic.

use std::net::{SocketAddr, ToSocketAddrs};

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::core::{Command, Event, FarEnd, Keys, peers_of};
use crate::io::{Handle, MAX_THREADS};
use crate::parameters::{CodecParameters, ExtensionIds, IngestParameters, Kind, SlotParameters};
use crate::payload::Codec;
use crate::srtp::Profile;

#[pyclass(frozen, module = "media._router")]
struct Router {
    handle: Handle,
}

fn required<'py, T: FromPyObjectOwned<'py>>(dict: &Bound<'py, PyDict>, key: &str) -> PyResult<T> {
    let value = dict.get_item(key)?.ok_or_else(|| PyValueError::new_err(format!("{key} is missing")))?;
    value.extract::<T>().map_err(|_| PyValueError::new_err(format!("{key} has the wrong type or range")))
}

fn optional<'py, T: FromPyObjectOwned<'py>>(dict: &Bound<'py, PyDict>, key: &str) -> PyResult<Option<T>> {
    match dict.get_item(key)? {
        Some(value) if !value.is_none() => value
            .extract::<T>()
            .map(Some)
            .map_err(|_| PyValueError::new_err(format!("{key} has the wrong type or range"))),
        _ => Ok(None),
    }
}

fn kind(dict: &Bound<'_, PyDict>) -> PyResult<Kind> {
    match required::<String>(dict, "kind")?.as_str() {
        "audio" => Ok(Kind::Audio),
        "video" => Ok(Kind::Video),
        other => Err(PyValueError::new_err(format!("kind {other:?} is neither audio nor video"))),
    }
}

fn codecs(dict: &Bound<'_, PyDict>) -> PyResult<Vec<CodecParameters>> {
    let list: Bound<'_, PyList> = required(dict, "codecs")?;
    let payload_type = |value: u8| match value {
        0..=127 => Ok(value),
        _ => Err(PyValueError::new_err("a payload type is 0 to 127")),
    };
    list.iter()
        .map(|item| {
            let item = item.cast_into::<PyDict>().map_err(|_| PyValueError::new_err("a codec is a dict"))?;
            let name: String = required(&item, "codec")?;
            Ok(CodecParameters {
                codec: Codec::from_name(&name)
                    .ok_or_else(|| PyValueError::new_err(format!("codec {name:?} is unknown")))?,
                payload_type: payload_type(required(&item, "payload_type")?)?,
                clock_rate_hz: required(&item, "clock_rate_hz")?,
                rtx_payload_type: optional(&item, "rtx_payload_type")?.map(payload_type).transpose()?,
            })
        })
        .collect()
}

fn extensions(dict: &Bound<'_, PyDict>) -> PyResult<ExtensionIds> {
    let ids: Bound<'_, PyDict> = required(dict, "extensions")?;
    let id = |name: &str| -> PyResult<Option<u8>> {
        match optional(&ids, name)? {
            // 15 is reserved in the one-byte form (RFC 8285 4.2).
            Some(value @ 1..=14) => Ok(Some(value)),
            Some(value) => Err(PyValueError::new_err(format!("extension id {value} of {name} is not 1 to 14"))),
            None => Ok(None),
        }
    };
    Ok(ExtensionIds {
        mid: id("mid")?,
        rid: id("rid")?,
        repaired_rid: id("repaired_rid")?,
        transport_cc: id("transport_cc")?,
        audio_level: id("audio_level")?,
    })
}

fn resolve(bind: &[(String, u16)]) -> PyResult<Vec<SocketAddr>> {
    bind.iter()
        .map(|(host, port)| {
            (host.as_str(), *port)
                .to_socket_addrs()?
                .next()
                .ok_or_else(|| PyOSError::new_err(format!("no address for {host}")))
        })
        .collect()
}

fn address_tuple(address: SocketAddr) -> (String, u16) {
    (address.ip().to_canonical().to_string(), address.port())
}

fn event<'py>(py: Python<'py>, event: Event) -> PyResult<Bound<'py, PyTuple>> {
    match event {
        Event::Ice { transport_id, address } => {
            let (ip, port) = address_tuple(address);
            ("ice", transport_id, ip, port).into_pyobject(py)
        }
        Event::Dtls { transport_id, datagram } => ("dtls", transport_id, PyBytes::new(py, &datagram)).into_pyobject(py),
        Event::Closed { transport_id, reason } => ("closed", transport_id, reason).into_pyobject(py),
        Event::Routed { slot_id, ingest_id } => ("routed", slot_id, ingest_id).into_pyobject(py),
        Event::Keyframe { tap_id, ingest_id, codec, ssrc, rtp_ts, arrival_wall_us, payloads } => {
            let payloads = PyList::new(py, payloads.iter().map(|payload| PyBytes::new(py, payload)))?;
            ("keyframe", tap_id, ingest_id, codec.name(), ssrc, rtp_ts, arrival_wall_us, payloads).into_pyobject(py)
        }
        Event::TapFailed { tap_id, reason } => ("tap_failed", tap_id, reason).into_pyobject(py),
        Event::IngestStarted { ingest_id, ssrc, codec } => {
            ("ingest_started", ingest_id, ssrc, codec.name()).into_pyobject(py)
        }
        Event::Speaking { ingest_id, is_speaking } => ("speaking", ingest_id, is_speaking).into_pyobject(py),
    }
}

impl Router {
    fn order(&self, py: Python<'_>, command: Command) -> PyResult<()> {
        if py.detach(|| self.handle.order(command)) { Ok(()) } else { Err(closed()) }
    }
}

fn closed() -> PyErr {
    PyRuntimeError::new_err("the router is closed")
}

#[pymethods]
impl Router {
    #[new]
    #[pyo3(signature = (bind, *, history_packets = 1024, threads = 1, tcp = false))]
    fn new(
        py: Python<'_>,
        bind: Vec<(String, u16)>,
        history_packets: usize,
        threads: usize,
        tcp: bool,
    ) -> PyResult<Self> {
        if !(1..=MAX_THREADS).contains(&threads) {
            return Err(PyValueError::new_err(format!("threads is 1 to {MAX_THREADS}")));
        }
        if !(64..=65_536).contains(&history_packets) {
            return Err(PyValueError::new_err("history_packets is 64 to 65536"));
        }
        let bind = resolve(&bind)?;
        let handle = py.detach(|| Handle::start(&bind, history_packets, threads, tcp))?;
        Ok(Self { handle })
    }

    fn local_addresses(&self) -> Vec<(String, u16)> {
        self.handle.local_addresses().iter().map(|address| address_tuple(*address)).collect()
    }

    fn event_fd(&self) -> i32 {
        self.handle.event_fd()
    }

    #[pyo3(signature = (max_events = 256))]
    fn drain_events<'py>(&self, py: Python<'py>, max_events: usize) -> PyResult<Bound<'py, PyList>> {
        let events = py.detach(|| self.handle.take_events(max_events));
        let tuples = events.into_iter().map(|e| event(py, e)).collect::<PyResult<Vec<_>>>()?;
        PyList::new(py, tuples)
    }

    #[pyo3(signature = (transport_id, local_ufrag, local_pwd, remote_ufrag = None))]
    fn add_transport(
        &self,
        py: Python<'_>,
        transport_id: u64,
        local_ufrag: String,
        local_pwd: String,
        remote_ufrag: Option<String>,
    ) -> PyResult<()> {
        self.order(py, Command::AddTransport { transport_id, local_ufrag, local_pwd, remote_ufrag })
    }

    #[pyo3(signature = (transport_id, local_ufrag, local_pwd, remote_ufrag = None))]
    fn restart_ice(
        &self,
        py: Python<'_>,
        transport_id: u64,
        local_ufrag: String,
        local_pwd: String,
        remote_ufrag: Option<String>,
    ) -> PyResult<()> {
        self.order(py, Command::RestartIce { transport_id, local_ufrag, local_pwd, remote_ufrag })
    }

    #[allow(clippy::too_many_arguments)] // the shape of media/_router.pyi
    fn add_link(
        &self,
        py: Python<'_>,
        transport_id: u64,
        local_ufrag: String,
        local_pwd: String,
        remote_ufrag: String,
        remote_pwd: String,
        remote_addresses: Vec<(String, u16)>,
    ) -> PyResult<()> {
        let peers = peers_of(&resolve(&remote_addresses)?, self.handle.local_addresses());
        if peers.is_empty() {
            return Err(PyValueError::new_err("no socket here reaches any of these addresses"));
        }
        let far = FarEnd { ufrag: remote_ufrag, pwd: remote_pwd, peers };
        self.order(py, Command::AddLink { transport_id, local_ufrag, local_pwd, far })
    }

    fn send_dtls(&self, py: Python<'_>, transport_id: u64, datagram: Vec<u8>) -> PyResult<()> {
        if datagram.len() > crate::outbox::MAX_DATAGRAM_BYTES {
            return Err(PyValueError::new_err("a datagram has at most 1500 bytes"));
        }
        self.order(py, Command::SendDtls { transport_id, datagram })
    }

    #[allow(clippy::too_many_arguments)] // the shape of media/_router.pyi
    fn set_srtp_keys(
        &self,
        py: Python<'_>,
        transport_id: u64,
        profile: &str,
        rx_key: Vec<u8>,
        rx_salt: Vec<u8>,
        tx_key: Vec<u8>,
        tx_salt: Vec<u8>,
    ) -> PyResult<()> {
        let profile = Profile::from_name(profile)
            .ok_or_else(|| PyValueError::new_err(format!("SRTP profile {profile:?} is unknown")))?;
        let keys_fit = rx_key.len() == profile.key_bytes() && tx_key.len() == profile.key_bytes();
        let salts_fit = rx_salt.len() == profile.salt_bytes() && tx_salt.len() == profile.salt_bytes();
        if !keys_fit || !salts_fit {
            return Err(PyValueError::new_err("a key or salt has the wrong size for the profile"));
        }
        let keys = Box::new(Keys { profile, rx_key, rx_salt, tx_key, tx_salt });
        self.order(py, Command::SetKeys { transport_id, keys })
    }

    fn remove_transport(&self, py: Python<'_>, transport_id: u64) -> PyResult<()> {
        self.order(py, Command::RemoveTransport { transport_id })
    }

    fn add_ingest(
        &self,
        py: Python<'_>,
        ingest_id: u64,
        transport_id: u64,
        parameters: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let parameters = Box::new(IngestParameters {
            kind: kind(parameters)?,
            mid: required(parameters, "mid")?,
            rid: optional(parameters, "rid")?,
            ssrc: optional(parameters, "ssrc")?,
            rtx_ssrc: optional(parameters, "rtx_ssrc")?,
            codecs: codecs(parameters)?,
            extensions: extensions(parameters)?,
            nack: required(parameters, "nack")?,
            pli: required(parameters, "pli")?,
            fir: optional(parameters, "fir")?.unwrap_or(false),
            transport_cc: required(parameters, "transport_cc")?,
        });
        self.order(py, Command::AddIngest { ingest_id, transport_id, parameters })
    }

    fn remove_ingest(&self, py: Python<'_>, ingest_id: u64) -> PyResult<()> {
        self.order(py, Command::RemoveIngest { ingest_id })
    }

    fn add_slot(
        &self,
        py: Python<'_>,
        slot_id: u64,
        transport_id: u64,
        parameters: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let parameters = Box::new(SlotParameters {
            kind: kind(parameters)?,
            mid: required(parameters, "mid")?,
            ssrc: required(parameters, "ssrc")?,
            rtx_ssrc: optional(parameters, "rtx_ssrc")?,
            codecs: codecs(parameters)?,
            extensions: extensions(parameters)?,
            nack: required(parameters, "nack")?,
        });
        self.order(py, Command::AddSlot { slot_id, transport_id, parameters })
    }

    fn remove_slot(&self, py: Python<'_>, slot_id: u64) -> PyResult<()> {
        self.order(py, Command::RemoveSlot { slot_id })
    }

    fn route(&self, py: Python<'_>, slot_id: u64, ingest_ids: Vec<u64>) -> PyResult<()> {
        self.order(py, Command::Route { slot_id, ingest_ids })
    }

    #[pyo3(signature = (slot_id, max_height_px))]
    fn limit_slot(&self, py: Python<'_>, slot_id: u64, max_height_px: Option<u32>) -> PyResult<()> {
        self.order(py, Command::LimitSlot { slot_id, max_height_px })
    }

    fn request_keyframe(&self, py: Python<'_>, ingest_id: u64) -> PyResult<()> {
        self.order(py, Command::RequestKeyframe { ingest_id })
    }

    fn tap(&self, py: Python<'_>, ingest_id: u64, tap_id: u64, deadline_ms: u64) -> PyResult<()> {
        let deadline_us = deadline_ms.saturating_mul(1000).min(60_000_000);
        self.order(py, Command::Tap { ingest_id, tap_id, deadline_us })
    }

    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let snapshot = py.detach(|| self.handle.snapshot()).ok_or_else(closed)?;
        let transports = PyList::empty(py);
        for flow in snapshot.transports {
            let dict = PyDict::new(py);
            dict.set_item("transport_id", flow.transport_id)?;
            dict.set_item("remote", flow.remote.map(address_tuple))?;
            dict.set_item("path", flow.path)?;
            dict.set_item("state", flow.state)?;
            dict.set_item("rx_packets", flow.rx_packets)?;
            dict.set_item("tx_packets", flow.tx_packets)?;
            dict.set_item("consent_age_ms", flow.consent_age_ms)?;
            dict.set_item("estimate_bps", flow.estimate_bps)?;
            dict.set_item("rtt_ms", flow.rtt_ms)?;
            dict.set_item("loss", flow.loss)?;
            transports.append(dict)?;
        }
        let ingests = PyList::empty(py);
        for flow in snapshot.ingests {
            let dict = PyDict::new(py);
            dict.set_item("ingest_id", flow.ingest_id)?;
            dict.set_item("transport_id", flow.transport_id)?;
            dict.set_item("kind", flow.kind)?;
            dict.set_item("codec", flow.codec)?;
            dict.set_item("ssrc", flow.ssrc)?;
            dict.set_item("packets", flow.packets)?;
            dict.set_item("payload_bytes", flow.payload_bytes)?;
            dict.set_item("lost", flow.lost)?;
            dict.set_item("nacks_sent", flow.nacks_sent)?;
            dict.set_item("plis_sent", flow.plis_sent)?;
            dict.set_item("jitter_ts", flow.jitter_ts)?;
            dict.set_item("keyframes", flow.keyframes)?;
            dict.set_item("frames", flow.frames)?;
            dict.set_item("height_px", flow.height_px)?;
            dict.set_item("last_packet_age_ms", flow.last_packet_age_ms)?;
            dict.set_item("level_dbov", flow.level_dbov)?;
            ingests.append(dict)?;
        }
        let slots = PyList::empty(py);
        for flow in snapshot.slots {
            let dict = PyDict::new(py);
            dict.set_item("slot_id", flow.slot_id)?;
            dict.set_item("transport_id", flow.transport_id)?;
            dict.set_item("ingest_id", flow.ingest_id)?;
            dict.set_item("wanted_ingest_id", flow.wanted_ingest_id)?;
            dict.set_item("packets", flow.packets)?;
            dict.set_item("payload_bytes", flow.payload_bytes)?;
            dict.set_item("retransmitted", flow.retransmitted)?;
            dict.set_item("nacks_received", flow.nacks_received)?;
            dict.set_item("plis_received", flow.plis_received)?;
            dict.set_item("fraction_lost", flow.fraction_lost)?;
            dict.set_item("rtt_ms", flow.rtt_ms)?;
            dict.set_item("layer", flow.layer)?;
            dict.set_item("wanted_layer", flow.wanted_layer)?;
            dict.set_item("target_bps", flow.target_bps)?;
            dict.set_item("reason", flow.reason)?;
            slots.append(dict)?;
        }
        let dict = PyDict::new(py);
        dict.set_item("transports", transports)?;
        dict.set_item("ingests", ingests)?;
        dict.set_item("slots", slots)?;
        dict.set_item("counters", counters(py, &snapshot.counters)?)?;
        Ok(dict)
    }

    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let snapshot = py.detach(|| self.handle.snapshot()).ok_or_else(closed)?;
        counters(py, &snapshot.counters)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.handle.close());
    }
}

fn counters<'py>(py: Python<'py>, counters: &crate::stats::Counters) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in counters.named() {
        dict.set_item(name, value)?;
    }
    Ok(dict)
}

/// The extension module `media._router`.
#[pymodule]
fn _router(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Router>()
}
