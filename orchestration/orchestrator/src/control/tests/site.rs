//! A site's agent as the site link describes it, without workers.

use super::world::Journal;
use api::{
    Problem,
    link::{
        Answers, Call, Decided, Desired, FromControl, FromSite, Held, HeldCell, HeldState,
        LINK_VERSION, Reply, Stamp, StoreChange, StoreLimits, Tail, Transferred,
    },
    policy::StoreLimit,
    service::Lost,
    tissue,
};
use futures_util::{SinkExt, StreamExt};
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};
use types::{Bytes, Cpu, Digest, Epoch, ErrorKind};

/// What a site does with a call instead of following it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Says no.
    Refuse,
    /// Does it and loses its answer.
    Silent,
    /// Does not do it and loses the connection.
    HangUp,
}

#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) tenant: String,
    pub(super) name: String,
    pub(super) epoch: Epoch,
    pub(super) state: HeldState,
    migration: Option<String>,
    pub(super) lost: Vec<Lost>,
    pub(super) started_from: Option<Stamp>,
}

/// What the agent remembers.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) held: HashMap<String, Vec<Instance>>,
    pub(super) cells: HashMap<String, HeldCell>,
    pub(super) desired: Desired,
    pub(super) dropped: Vec<(String, Epoch)>,
    pub(super) refused: Option<Problem>,
    pub(super) faults: HashMap<&'static str, Fault>,
    /// Does not dial while true, and hangs up.
    pub(super) cut: bool,
    pub(super) connected: bool,
    pub(super) welcomes: u32,
    pub(super) tails: Vec<Tail>,
    pub(super) noted: Vec<(String, Epoch)>,
    pub(super) decided: Vec<Decided>,
    pub(super) recorded: Vec<String>,
    /// What its ingress counts, for each service.
    pub(super) answers: Answers,
    /// What is wrong with a status page.
    pub(super) page: Option<String>,
    /// What it tells of itself.
    pub(super) metrics: Option<String>,
    /// What its store may use.
    pub(super) limits: StoreLimits,
}

/// One agent; its task ends with the test.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) name: String,
    pub(super) address: IpAddr,
    pub(super) memory: Arc<Mutex<Memory>>,
    journal: Journal,
}

impl Site {
    pub(super) fn start(
        name: &str,
        address: [u8; 4],
        control: Arc<Mutex<SocketAddr>>,
        token: String,
        journal: Journal,
    ) -> Self {
        let site = Self {
            name: name.to_owned(),
            address: IpAddr::from(address),
            memory: Arc::default(),
            journal,
        };
        tokio::spawn(site.clone().live(control, token));
        site
    }

    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Memory) -> T) -> T {
        f(&mut self.memory.lock().unwrap())
    }

    pub(super) fn state(&self, uid: &str, epoch: Epoch) -> Option<HeldState> {
        let memory = self.memory.lock().unwrap();
        memory.held.get(uid)?.iter().find(|held| held.epoch == epoch).map(|held| held.state)
    }

    pub(super) fn serves(&self, uid: &str) -> bool {
        let memory = self.memory.lock().unwrap();
        let held = memory.held.get(uid).into_iter().flatten();
        held.into_iter().any(|held| held.state == HeldState::Serving)
    }

    /// Dials until the test ends.
    async fn live(self, control: Arc<Mutex<SocketAddr>>, token: String) {
        loop {
            if !self.memory.lock().unwrap().cut {
                let address = *control.lock().unwrap();
                self.session(address, &token).await;
                self.memory.lock().unwrap().connected = false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn session(&self, control: SocketAddr, token: &str) -> Option<()> {
        let url = format!("ws://{control}{}", api::paths::LINK);
        let mut request = url.into_client_request().ok()?;
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().ok()?);
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.ok()?;
        let mut sequence = 0;
        socket.send(text(&self.hello())).await.ok()?;
        loop {
            tokio::select! {
                message = socket.next() => {
                    let Message::Text(text_) = message?.ok()? else { continue };
                    let message: FromControl = serde_json::from_str(&text_).unwrap();
                    let ack = matches!(message, FromControl::Ack { .. });
                    if let Some(answer) = self.hear(message)? {
                        socket.send(text(&answer)).await.ok()?;
                    }
                    if ack {
                        continue;
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
            if self.memory.lock().unwrap().cut {
                return None;
            }
            sequence += 1;
            let beat = self.beat(sequence);
            socket.send(text(&beat)).await.ok()?;
        }
    }

    fn hello(&self) -> FromSite {
        FromSite::Hello {
            version: LINK_VERSION,
            site: self.name.clone(),
            labels: BTreeMap::from([("tier".into(), self.name.clone())]),
            address: self.address,
            peer_address: None,
            ingress_port: 8080,
            peer_port: 9090,
            cpu: Cpu(4000),
            memory: Bytes(1 << 30),
            store: None,
            agent_version: "test".into(),
            held: self.report(),
        }
    }

    fn beat(&self, sequence: u64) -> FromSite {
        let (cells, tails, decided) = self.with(|memory| {
            let cells = memory.cells.values().cloned().collect();
            (cells, memory.tails.clone(), memory.decided.clone())
        });
        FromSite::Beat { sequence, held: self.report(), cells, tails, decided }
    }

    fn report(&self) -> Vec<Held> {
        let memory = self.memory.lock().unwrap();
        let all = memory.held.iter().flat_map(|(uid, held)| held.iter().map(move |one| (uid, one)));
        all.map(|(uid, one)| Held {
            tenant: one.tenant.clone(),
            name: one.name.clone(),
            uid: uid.clone(),
            epoch: one.epoch,
            incarnation: 0,
            state: one.state,
            message: String::new(),
            requests_answered: 7,
            cpu_us: 21_000,
            last_checkpoint: None,
            lost: one.lost.clone(),
            memory: Bytes(1),
            started_from: one.started_from,
            answers: memory.answers,
            page: memory.page.clone(),
        })
        .collect()
    }

    /// `None` ends the session.
    fn hear(&self, message: FromControl) -> Option<Option<FromSite>> {
        let mut memory = self.memory.lock().unwrap();
        let answer = self.heed(&mut memory, message);
        let serving = memory
            .held
            .iter()
            .filter(|(_, held)| held.iter().any(|one| one.state == HeldState::Serving));
        self.journal.serves(&self.name, serving.map(|(uid, _)| uid.clone()).collect());
        answer
    }

    fn heed(&self, memory: &mut Memory, message: FromControl) -> Option<Option<FromSite>> {
        match message {
            FromControl::Welcome { desired, .. } => {
                memory.connected = true;
                memory.welcomes += 1;
                memory.follow(*desired);
            }
            FromControl::Desired(desired) => memory.follow(*desired),
            FromControl::Ack { noted, recorded, .. } => {
                memory.noted.extend(noted);
                memory.recorded.extend(recorded);
            }
            FromControl::Refused(problem) => {
                memory.refused = Some(problem);
                return None;
            }
            FromControl::Call { id, call } => {
                let what = name_of(&call);
                self.journal.note(format!("{} {what}", self.name));
                let result = match memory.faults.get(what).copied() {
                    Some(Fault::HangUp) => return None,
                    Some(Fault::Refuse) => {
                        Err(Problem::new(ErrorKind::Exhausted, "no room for it"))
                    }
                    fault => {
                        let result = memory.obey(*call);
                        if fault.is_some() {
                            return Some(None);
                        }
                        result
                    }
                };
                return Some(Some(FromSite::Reply { id, result }));
            }
        }
        Some(None)
    }
}

impl Memory {
    fn follow(&mut self, desired: Desired) {
        for (uid, epoch) in &desired.drop {
            if let Some(held) = self.held.get_mut(uid) {
                held.retain(|one| one.epoch > *epoch);
            }
            self.dropped.push((uid.clone(), *epoch));
        }
        self.held.retain(|_, held| !held.is_empty());
        for wanted in &desired.services {
            let held = self.held.entry(wanted.uid.clone()).or_default();
            if held.iter().any(|one| one.epoch == wanted.epoch) {
                continue;
            }
            held.push(Instance {
                tenant: wanted.tenant.clone(),
                name: wanted.name.clone(),
                epoch: wanted.epoch,
                state: HeldState::Serving,
                migration: None,
                lost: Vec::new(),
                started_from: None,
            });
        }
        self.cells.retain(|uid, cell| {
            cell.exit_code.is_some() || desired.cells.iter().any(|wanted| wanted.uid == *uid)
        });
        for wanted in &desired.cells {
            let new = || HeldCell {
                uid: wanted.uid.clone(),
                exit_code: None,
                error: None,
                cpus: None,
                cpu_us: 0,
                memory: types::Bytes(0),
                incarnation: wanted.incarnation,
                lost: false,
            };
            self.cells.entry(wanted.uid.clone()).or_insert_with(new);
        }
        self.desired = desired;
    }

    fn obey(&mut self, call: Call) -> Result<Reply, Problem> {
        match call {
            Call::Prepare { migration, assignment } => {
                self.held.entry(assignment.uid.clone()).or_default().push(Instance {
                    tenant: assignment.tenant.clone(),
                    name: assignment.name.clone(),
                    epoch: assignment.epoch,
                    state: HeldState::Prepared,
                    migration: Some(migration),
                    lost: Vec::new(),
                    started_from: None,
                });
                let address = SocketAddr::from(([127, 0, 0, 1], 1));
                Ok(Reply::Prepared { address, secret: "once".into() })
            }
            Call::Transfer { migration, uid, epoch, secret, .. } => {
                assert_eq!(secret, "once");
                let held = self.held.get_mut(&uid).into_iter().flatten();
                for one in held.filter(|one| one.epoch == epoch) {
                    one.state = HeldState::HandedOver;
                    one.migration = Some(migration.clone());
                }
                let cost =
                    Transferred { stop_us: 900, final_bytes: 4096, ..Transferred::default() };
                Ok(Reply::Transferred(cost))
            }
            Call::Activate { migration } => {
                self.turn(&migration, HeldState::Prepared, Some(HeldState::Serving))
            }
            Call::Release { migration, .. } => {
                self.turn(&migration, HeldState::HandedOver, Some(HeldState::Forwarding))
            }
            Call::Abort { migration } => {
                self.turn(&migration, HeldState::HandedOver, Some(HeldState::Serving))?;
                self.turn(&migration, HeldState::Prepared, None)
            }
            Call::Metrics => {
                let usual = || "# TYPE cells gauge\ncells{tenant=\"lab\"} 3\n# EOF\n".to_owned();
                let text = self.metrics.clone().unwrap_or_else(usual);
                Ok(Reply::Metrics { text })
            }
            Call::Logs { offset, limit, .. } => {
                let text: String = "hello from the cell"
                    .chars()
                    .skip(usize::try_from(offset).unwrap())
                    .take(usize::try_from(limit).unwrap())
                    .collect();
                Ok(Reply::Logs { offset, text, ended: false })
            }
            Call::Tissue { step: tissue::Step::Prepare { .. }, .. } => {
                let address = SocketAddr::from(([127, 0, 0, 1], 1));
                Ok(Reply::Prepared { address, secret: "once".into() })
            }
            Call::Tissue { step: tissue::Step::Copy | tissue::Step::Send, .. } => {
                Ok(Reply::Transferred(Transferred::default()))
            }
            Call::Tissue { .. } => Ok(Reply::Done),
            Call::StoreLimits { change, .. } => {
                if let Some(StoreChange { limit, to, .. }) = change {
                    assert_eq!(limit, StoreLimit::Memory, "no test sets another one");
                    self.limits.memory = to;
                }
                Ok(Reply::StoreLimits(self.limits))
            }
            Call::Snapshot { .. } => {
                Ok(Reply::Snapshot { digest: Digest::from_sha256([7; 32]), size_bytes: 5 })
            }
        }
    }

    /// Moves what belongs to a migration from one state to another; twice is as good as once.
    fn turn(
        &mut self,
        migration: &str,
        from: HeldState,
        to: Option<HeldState>,
    ) -> Result<Reply, Problem> {
        for held in self.held.values_mut() {
            held.retain_mut(|one| {
                let own = one.migration.as_deref() == Some(migration) && one.state == from;
                match to {
                    Some(to) if own => one.state = to,
                    None if own => return false,
                    _ => {}
                }
                true
            });
        }
        self.held.retain(|_, held| !held.is_empty());
        Ok(Reply::Done)
    }
}

fn text(message: &FromSite) -> Message {
    Message::text(serde_json::to_string(message).unwrap())
}

fn name_of(call: &Call) -> &'static str {
    match call {
        Call::Prepare { .. } => "prepare",
        Call::Transfer { .. } => "transfer",
        Call::Activate { .. } => "activate",
        Call::Release { .. } => "release",
        Call::Abort { .. } => "abort",
        Call::Metrics => "metrics",
        Call::Logs { .. } => "logs",
        Call::Snapshot { .. } => "snapshot",
        Call::Tissue { .. } => "tissue",
        Call::StoreLimits { .. } => "storeLimits",
    }
}
