//! ICE-lite, consent, the table of addresses.

use super::*;
use crate::stun::Message;

fn ice_events(world: &World) -> Vec<u16> {
    let ports = world.events.iter().filter_map(|event| match event {
        Event::Ice { address, .. } => Some(address.port()),
        _ => None,
    });
    ports.collect()
}

#[test]
fn a_valid_check_is_answered_and_told_once() {
    let mut world = World::new();
    world.add(5000);
    world.check(5000);
    world.check(5000);
    let answers = &world.raw[&5000];
    assert_eq!(answers.len(), 2);
    let answer = Message::parse_untrusted(&answers[0]).unwrap();
    assert_eq!(answer.xor_mapped_address, Some(address(5000).address));
    assert!(answer.verify_integrity(&crate::stun::short_term_key(PASSWORD)));
    assert_eq!(ice_events(&world), [5000]);
}

#[test]
fn wrong_credentials_get_no_answer() {
    let mut world = World::new();
    world.order(Command::AddTransport {
        transport_id: 1,
        local_ufrag: "mine".into(),
        local_pwd: PASSWORD.into(),
        remote_ufrag: Some("yours".into()),
    });
    for (username, password) in
        [("mine:yours", "wrong"), ("mine:theirs", PASSWORD), ("other:yours", PASSWORD), ("mine", PASSWORD)]
    {
        world.datagram(address(1), &binding_request(username, password, true));
    }
    assert!(world.raw.is_empty() && world.events.is_empty());
    assert_eq!((world.count(Counter::StunRejected), world.count(Counter::StunUnknownUfrag)), (3, 1));
    world.datagram(address(1), &binding_request("mine:yours", PASSWORD, true));
    assert_eq!(world.raw[&1].len(), 1);
}

#[test]
fn media_follows_the_nominated_address() {
    let mut world = World::new();
    world.join(5000);
    let elsewhere = binding_request("u5000:peer", PASSWORD, false);
    world.datagram(address(5001), &elsewhere);
    world.order(Command::SendDtls { transport_id: 5000, datagram: vec![22, 1] });
    assert!(world.raw[&5000].contains(&vec![22, 1]));
    world.datagram(address(5001), &binding_request("u5000:peer", PASSWORD, true));
    world.order(Command::SendDtls { transport_id: 5000, datagram: vec![22, 2] });
    assert!(world.raw[&5001].contains(&vec![22, 2]));
    assert_eq!(ice_events(&world), [5000, 5001]);
}

#[test]
fn addresses_of_one_transport_are_bounded() {
    let mut world = World::new();
    world.add(5000);
    world.check(5000);
    for port in 6000..6100 {
        world.datagram(address(port), &binding_request("u5000:peer", PASSWORD, false));
    }
    assert_eq!(world.core.by_address.len(), super::super::tables::MAX_ADDRESSES);
    assert_eq!(world.count(Counter::AddressesEvicted), 93);
    // The address in use is never the one that goes.
    world.datagram(address(5000), &[22, 3]);
    assert!(world.events.contains(&Event::Dtls { transport_id: 5000, datagram: vec![22, 3] }));
    world.order(Command::RemoveTransport { transport_id: 5000 });
    assert!(world.core.by_address.is_empty() && world.core.by_ufrag.is_empty());
}

#[test]
fn an_address_belongs_to_who_proved_it_last() {
    let mut world = World::new();
    world.add(5000);
    world.check(5000);
    world.add(7000);
    world.datagram(address(5000), &binding_request("u7000:peer", PASSWORD, true));
    world.datagram(address(5000), &[22, 4]);
    assert!(world.events.contains(&Event::Dtls { transport_id: 7000, datagram: vec![22, 4] }));
    world.order(Command::RemoveTransport { transport_id: 5000 });
    world.datagram(address(5000), &[22, 5]);
    assert!(world.events.contains(&Event::Dtls { transport_id: 7000, datagram: vec![22, 5] }));
}

#[test]
fn consent_expires_after_thirty_seconds_without_a_check() {
    let mut world = World::new();
    world.join(5000);
    world.slot(1, 5000, watching(Kind::Video, 1, None));
    world.pass_ms(20_000);
    world.check(5000);
    world.pass_ms(29_900);
    assert!(!world.events.iter().any(|event| matches!(event, Event::Closed { .. })));
    world.pass_ms(200);
    assert!(world.events.contains(&Event::Closed { transport_id: 5000, reason: "consent" }));
    assert!(world.core.slots.is_empty());
    // Who never came at all goes too.
    world.add(6000);
    world.pass_ms(30_100);
    assert!(world.events.contains(&Event::Closed { transport_id: 6000, reason: "consent" }));
    assert_eq!(world.core.next_timeout_us(), None);
}

#[test]
fn a_publisher_that_only_sends_media_keeps_consent() {
    let mut world = World::new();
    world.join(5000);
    world.ingest(1, 5000, publishing(Kind::Video, "0", Some(11)));
    for second in 0..60 {
        world.rtp(5000, &vp8(11, second, second as u32 * 90_000, true));
        world.pass_ms(1000);
    }
    assert!(!world.events.iter().any(|event| matches!(event, Event::Closed { .. })));
    world.pass_ms(30_000);
    assert!(world.events.contains(&Event::Closed { transport_id: 5000, reason: "consent" }));
}

/// GStreamer's webrtcbin sends no checks once it is connected, only its reports.
#[test]
fn a_viewer_that_only_sends_reports_keeps_consent() {
    let mut world = World::new();
    world.join(5000);
    world.slot(1, 5000, watching(Kind::Video, 1, None));
    for _ in 0..60 {
        world.rtcp(5000, |compound| compound.receiver_report(7, &[]));
        world.pass_ms(1000);
    }
    assert!(!world.events.iter().any(|event| matches!(event, Event::Closed { .. })));
    // From another address than the one that media goes to they say nothing about that one.
    let elsewhere = binding_request("u5000:peer", PASSWORD, false);
    world.datagram(address(5001), &elsewhere);
    for _ in 0..31 {
        let report = world.sealed_rtcp(5000, |compound| compound.receiver_report(7, &[]));
        world.datagram(address(5001), &report);
        world.pass_ms(1000);
    }
    assert!(world.events.contains(&Event::Closed { transport_id: 5000, reason: "consent" }));
}

fn restart(world: &mut World, ufrag: &str, remote: &str) {
    world.order(Command::RestartIce {
        transport_id: 5000,
        local_ufrag: ufrag.into(),
        local_pwd: "the second password of it".into(),
        remote_ufrag: Some(remote.into()),
    });
}

#[test]
fn a_restart_keeps_the_media_and_moves_to_the_new_address() {
    let mut world = World::new();
    world.join(5000);
    world.ingest(1, 5000, publishing(Kind::Video, "0", Some(11)));
    world.rtp(5000, &vp8(11, 1, 0, true));
    restart(&mut world, "new", "phone");
    // The answer to the restart is still on its way: old checks and the media go on.
    world.check(5000);
    assert_eq!(world.count(Counter::StunRejected), 0);
    world.rtp(5000, &vp8(11, 2, 3000, false));
    let new = binding_request("new:phone", "the second password of it", true);
    world.datagram(address(5001), &new);
    assert_eq!(ice_events(&world), [5000, 5001]);
    let answer = Message::parse_untrusted(&world.raw[&5001][0]).unwrap();
    assert!(answer.verify_integrity(&crate::stun::short_term_key("the second password of it")));
    world.order(Command::SendDtls { transport_id: 5000, datagram: vec![22, 7] });
    assert!(world.raw[&5001].contains(&vec![22, 7]), "what we send follows");
    let flow = world.core.snapshot(world.now_us);
    assert_eq!((flow.transports[0].state, flow.ingests[0].packets), ("connected", 2));
    // The old credentials ended with the first use of the new.
    let answered = world.raw[&5000].len();
    world.check(5000);
    assert_eq!(world.raw[&5000].len(), answered);
    assert_eq!(world.core.by_ufrag.len(), 1);
}

#[test]
fn a_restart_that_is_never_used_leaves_everything_as_it_was() {
    let mut world = World::new();
    world.join(5000);
    for number in 0..3 {
        restart(&mut world, &format!("new{number}"), "phone");
        world.check(5000);
    }
    assert_eq!((world.count(Counter::StunRejected), world.count(Counter::IceRestarts)), (0, 3));
    // The pair in use and the newest one; those in between were never used and are gone.
    assert_eq!(world.core.by_ufrag.len(), 2);
    world.datagram(address(5001), &binding_request("new0:phone", "the second password of it", true));
    world.datagram(address(5001), &binding_request("new2:other", "the second password of it", true));
    world.datagram(address(5001), &binding_request("new2:phone", PASSWORD, true));
    assert_eq!((world.count(Counter::StunUnknownUfrag), world.count(Counter::StunRejected)), (1, 2));
    world.order(Command::RemoveTransport { transport_id: 5000 });
    assert!(world.core.by_ufrag.is_empty());
}

#[test]
fn a_restart_takes_no_ufrag_of_another_transport() {
    let mut world = World::new();
    world.join(5000);
    world.join(6000);
    restart(&mut world, "u6000", "phone");
    assert_eq!(world.count(Counter::CommandsIgnored), 1);
    world.check(6000);
    assert_eq!(world.count(Counter::StunRejected), 0);
}
