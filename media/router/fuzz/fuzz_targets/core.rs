#![no_main]

use std::net::SocketAddr;

use _router::core::{Command, Core};
use _router::outbox::{Outbox, Peer};
use libfuzzer_sys::fuzz_target;

// Datagrams, each after a length byte and a byte that names its sender, at a core with one transport.
fuzz_target!(|bytes: &[u8]| {
    let mut core = Core::new(64, 1);
    let mut outbox = Outbox::default();
    let mut now_us = 3_600_000_000;
    let add = Command::AddTransport {
        transport_id: 1,
        local_ufrag: "ufrag".into(),
        local_pwd: "password".into(),
        remote_ufrag: None,
    };
    core.apply(now_us, add, &mut outbox);
    let mut rest = bytes;
    while let [len, sender, tail @ ..] = rest {
        let (datagram, after) = tail.split_at(tail.len().min(usize::from(*len)));
        rest = after;
        let address = SocketAddr::from(([10, 0, 0, 1], u16::from(*sender)));
        core.handle_datagram(now_us, Peer { socket: 0, address }, &mut datagram.to_vec(), &mut outbox);
        now_us += 1_000;
        core.handle_timeout(now_us, &mut outbox);
        while core.poll(now_us, &mut outbox) {
            outbox.clear();
        }
        outbox.clear();
    }
});
