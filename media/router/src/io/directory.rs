//! Where transports, ingests and slots live, and what a command means for which shard.
//!
//! Callers know no shards: ids are global. A transport lives in one shard for life, with everything on it. A slot that
//! shows an ingest of another shard has it mirrored first, once per shard.

use std::collections::HashMap;
use std::sync::Arc;

use super::Order;
use super::doors::Doors;
use crate::core::{Command, Subject};
use crate::parameters::IngestParameters;

/// A further shard is opened when every open one has so many transports: below that, one thread is cheaper than two
/// (every burst wakes each shard that shows it) and far from its limit of about a thousand viewers.
const FULL_TRANSPORTS: usize = 100;

struct Home {
    shard: usize,
    ufrags: Vec<String>,
    ingests: Vec<u64>,
    slots: Vec<u64>,
}

struct Source {
    shard: usize,
    transport_id: u64,
    parameters: Arc<IngestParameters>,
}

pub(super) struct Directory {
    /// Transports per shard.
    loads: Vec<usize>,
    transports: HashMap<u64, Home>,
    ingests: HashMap<u64, Source>,
    /// Each slot's transport.
    slots: HashMap<u64, u64>,
}

impl Directory {
    pub fn new(shards: usize) -> Self {
        Self { loads: vec![0; shards], transports: HashMap::new(), ingests: HashMap::new(), slots: HashMap::new() }
    }

    /// Hands each shard that `command` concerns its orders, in the order in which it must see them.
    pub fn place(&mut self, command: Command, doors: &Doors, mut to: impl FnMut(usize, Order)) {
        if self.loads.len() == 1 {
            return to(0, Order::Command(command));
        }
        // A command about what is not there (any more) is counted by whoever gets it.
        let shard = self.shard_of(command.subject()).unwrap_or(0);
        match &command {
            Command::AddTransport { transport_id, local_ufrag, .. }
            | Command::AddLink { transport_id, local_ufrag, .. } => {
                let shard = self.admit(*transport_id, local_ufrag, doors);
                return to(shard, Order::Command(command));
            }
            Command::RestartIce { transport_id, local_ufrag, .. } => {
                // A ufrag of another transport stays that one's.
                if let Some(home) = self.transports.get_mut(transport_id)
                    && doors.of_ufrag(local_ufrag).is_none()
                {
                    doors.add_ufrag(local_ufrag, shard);
                    home.ufrags.push(local_ufrag.clone());
                }
            }
            Command::RemoveTransport { transport_id } => self.forget(*transport_id, doors),
            Command::AddIngest { ingest_id, transport_id, parameters } => {
                if let Some(home) = self.transports.get_mut(transport_id) {
                    let parameters = Arc::new((**parameters).clone());
                    home.ingests.push(*ingest_id);
                    self.ingests.entry(*ingest_id).or_insert(Source { shard, transport_id: *transport_id, parameters });
                }
            }
            Command::RemoveIngest { ingest_id } => {
                if let Some(source) = self.ingests.remove(ingest_id)
                    && let Some(home) = self.transports.get_mut(&source.transport_id)
                {
                    home.ingests.retain(|id| id != ingest_id);
                }
            }
            Command::AddSlot { slot_id, transport_id, .. } => {
                if let Some(home) = self.transports.get_mut(transport_id) {
                    home.slots.push(*slot_id);
                    self.slots.entry(*slot_id).or_insert(*transport_id);
                }
            }
            Command::RemoveSlot { slot_id } => {
                let transport_id = self.slots.remove(slot_id);
                if let Some(home) = transport_id.and_then(|id| self.transports.get_mut(&id)) {
                    home.slots.retain(|id| id != slot_id);
                }
            }
            Command::Route { ingest_ids, .. } => {
                for ingest_id in ingest_ids {
                    let Some(source) = self.ingests.get(ingest_id).filter(|source| source.shard != shard) else {
                        continue;
                    };
                    to(
                        shard,
                        Order::Mirror {
                            ingest_id: *ingest_id,
                            transport_id: source.transport_id,
                            home: source.shard,
                            parameters: Arc::clone(&source.parameters),
                        },
                    );
                }
            }
            Command::SendDtls { .. }
            | Command::SetKeys { .. }
            | Command::LimitSlot { .. }
            | Command::RequestKeyframe { .. }
            | Command::Tap { .. } => {}
        }
        to(shard, Order::Command(command));
    }

    /// A transport that is no more, by command or by itself.
    pub fn forget(&mut self, transport_id: u64, doors: &Doors) {
        let Some(home) = self.transports.remove(&transport_id) else { return };
        self.loads[home.shard] -= 1;
        home.ufrags.iter().for_each(|ufrag| doors.remove_ufrag(ufrag));
        for id in home.ingests {
            self.ingests.remove(&id);
        }
        for id in home.slots {
            self.slots.remove(&id);
        }
    }

    fn shard_of(&self, subject: Subject) -> Option<usize> {
        match subject {
            Subject::Transport(id) => self.transports.get(&id).map(|home| home.shard),
            Subject::Ingest(id) => self.ingests.get(&id).map(|source| source.shard),
            Subject::Slot(id) => self.shard_of(Subject::Transport(*self.slots.get(&id)?)),
        }
    }

    /// The emptiest of the shards that are open: those up to the first that nobody needed yet.
    fn shard_for_another(&self) -> usize {
        let full = self.loads.iter().take_while(|load| **load >= FULL_TRANSPORTS).count();
        let open = (full + 1).min(self.loads.len()).max(self.loads.iter().filter(|load| **load > 0).count());
        let open = &self.loads[..open.min(self.loads.len())];
        open.iter().enumerate().min_by_key(|(_, load)| **load).map_or(0, |(shard, _)| shard)
    }

    /// Where the new transport lives. An id or ufrag that is taken goes to the shard that has it, which refuses.
    fn admit(&mut self, transport_id: u64, ufrag: &str, doors: &Doors) -> usize {
        let taken = self.transports.get(&transport_id).map(|home| home.shard).or_else(|| doors.of_ufrag(ufrag));
        if let Some(shard) = taken {
            return shard;
        }
        let shard = self.shard_for_another();
        doors.add_ufrag(ufrag, shard);
        self.loads[shard] += 1;
        let home = Home { shard, ufrags: vec![ufrag.into()], ingests: Vec::new(), slots: Vec::new() };
        self.transports.insert(transport_id, home);
        shard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(directory: &mut Directory, doors: &Doors, transport_id: u64, ufrag: &str) -> usize {
        let command = Command::AddTransport {
            transport_id,
            local_ufrag: ufrag.into(),
            local_pwd: "p".into(),
            remote_ufrag: None,
        };
        let mut shards = Vec::new();
        directory.place(command, doors, |shard, _| shards.push(shard));
        assert_eq!(shards.len(), 1);
        shards[0]
    }

    #[test]
    fn a_shard_opens_when_the_others_are_full_and_the_emptiest_gets_the_next() {
        let (mut directory, doors) = (Directory::new(2), Doors::default());
        let full = FULL_TRANSPORTS as u64;
        for id in 0..full {
            assert_eq!(add(&mut directory, &doors, id, &format!("u{id}")), 0);
        }
        for id in full..2 * full {
            assert_eq!(add(&mut directory, &doors, id, &format!("u{id}")), 1);
        }
        directory.place(Command::RemoveTransport { transport_id: 3 }, &doors, |shard, _| assert_eq!(shard, 0));
        assert_eq!(doors.of_ufrag("u3"), None);
        assert_eq!(add(&mut directory, &doors, 1000, "again"), 0);
        assert_eq!(doors.of_ufrag("again"), Some(0));
    }

    #[test]
    fn a_taken_id_or_ufrag_goes_where_it_is_known() {
        let (mut directory, doors) = (Directory::new(2), Doors::default());
        for id in 0..=FULL_TRANSPORTS as u64 {
            add(&mut directory, &doors, id, &format!("u{id}"));
        }
        assert_eq!(add(&mut directory, &doors, 5, "new"), 0);
        assert_eq!(add(&mut directory, &doors, 5000, "u5"), 0);
        assert_eq!(directory.loads, [FULL_TRANSPORTS, 1]);
    }
}
