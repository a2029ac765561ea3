//! Ranks at several sites, which are parts of a tissue in this process.

use crate::{
    guests,
    programs::{config, load},
};
use api::{
    service::Engine,
    tissue::{Door, Layout, Step},
};
use cells::{
    Error, Program,
    limits::Limits,
    run::End,
    tissue::{Means, Remote, Stepped, Tissue},
    wasi::Buffer,
};
use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

const UID: &str = "tissue";

/// A rank's number, and how it ended.
type Ended = (u32, Result<End, Error>);

/// Sites that run one program.
struct Sites {
    remotes: Vec<Remote>,
    running: Vec<JoinHandle<()>>,
    ends: Arc<Mutex<Vec<Ended>>>,
    output: Buffer,
    layout: Option<Layout>,
    /// The highest number so far.
    issued: u64,
}

impl Sites {
    fn new(module: &Path, count: usize, ranks: u32, arguments: &[&str]) -> Self {
        let output = Buffer::default();
        let ends = Arc::new(Mutex::new(Vec::new()));
        let program = load(module, Engine::Cranelift);
        let (mut remotes, mut running) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let part = part(&program, ranks, arguments, &output);
            remotes.push(part.remote());
            let ends = ends.clone();
            running.push(std::thread::spawn(move || {
                part.run(|rank, end| ends.lock().unwrap().push((rank, end))).unwrap();
            }));
        }
        Self { remotes, running, ends, output, layout: None, issued: 0 }
    }

    fn step(
        &self,
        site: u32,
        number: u64,
        step: Step,
        files: &[PathBuf],
    ) -> Result<Stepped, Error> {
        let listen = IpAddr::V4(Ipv4Addr::LOCALHOST);
        self.remotes[site as usize].step(step, &Means { uid: UID, number, listen, files })
    }

    /// The same step at several sites at once.
    fn all(&self, sites: &[u32], number: u64, step: &Step) -> Result<(), Error> {
        std::thread::scope(|scope| {
            let steps: Vec<_> = sites
                .iter()
                .map(|site| scope.spawn(move || self.step(*site, number, step.clone(), &[])))
                .collect();
            steps.into_iter().try_for_each(|step| step.join().unwrap().map(drop))
        })
    }

    /// Leads all ranks to these places; `until` is the last step before it is undone.
    fn lead(
        &mut self,
        places: &[u32],
        files: &[PathBuf],
        until: Option<Step>,
    ) -> Result<(), Error> {
        let before = self.layout.clone();
        self.issued += 1;
        let number = self.issued;
        let layout = Layout { number, places: places.to_vec() };
        let old = before.as_ref().map(Layout::sites).unwrap_or_default();
        let mut sites = [old.clone(), layout.sites()].concat();
        sites.sort_unstable();
        sites.dedup();
        let led = self.lead_through(&layout, before, (&sites, &old), files, until.as_ref());
        if led.is_err() || until.is_some() {
            self.all(&sites, number, &Step::Undo).unwrap();
            return led;
        }
        self.all(&sites, number, &Step::Go)?;
        self.layout = Some(layout);
        Ok(())
    }

    fn lead_through(
        &self,
        layout: &Layout,
        before: Option<Layout>,
        (sites, old): (&[u32], &[u32]),
        files: &[PathBuf],
        until: Option<&Step>,
    ) -> Result<(), Error> {
        let number = layout.number;
        let mut doors = Vec::new();
        for &here in sites {
            let (layout, before) = (layout.clone(), before.clone());
            let restore = Vec::new();
            let step = Step::Prepare { here, incarnation: 1, layout, before, restore };
            let Stepped::Open { address, secret } = self.step(here, number, step, files)? else {
                panic!("a site is prepared and does not listen");
            };
            doors.push(Door { site: here, states: Some(address), messages: Some(address), secret });
        }
        for &here in sites {
            self.step(here, number, Step::Connect { here, doors: doors.clone() }, &[])?;
        }
        for (step, sites) in [
            (Step::Copy, old),
            (Step::Stop, old),
            (Step::Send, old),
            (Step::Arrive, &layout.sites()),
        ] {
            self.all(sites, number, &step)?;
            if until == Some(&step) {
                break;
            }
        }
        Ok(())
    }

    /// Waits for the ends of all ranks; what they wrote.
    fn end(self) -> (String, Vec<Ended>) {
        // Sites that all ranks left wait for others.
        let layout = self.layout.unwrap();
        for (site, running) in (0..).zip(self.running) {
            if layout.has(site) {
                running.join().unwrap();
            }
        }
        let ends = std::mem::take(&mut *self.ends.lock().unwrap());
        (String::from_utf8(self.output.take()).unwrap(), ends)
    }
}

fn part(program: &Arc<Program>, ranks: u32, arguments: &[&str], output: &Buffer) -> Tissue {
    let (arguments, output) = (arguments.join(" "), output.clone());
    let configure = move |_| {
        let arguments: Vec<&str> =
            ["program"].into_iter().chain(arguments.split_whitespace()).collect();
        Ok(config(&arguments, &output))
    };
    Tissue::part(program, ranks, Arc::new(configure), &Limits::default()).unwrap()
}

fn all_well(ends: &[Ended], ranks: u32) -> bool {
    ends.len() == ranks as usize && ends.iter().all(|(_, end)| matches!(end, Ok(End::Exited(0))))
}

fn kernel(name: &str) -> Option<PathBuf> {
    guests::migratable_ranks(&format!("../../../../examples/hpc/{name}.c"), &["-DUSE_MPI"])
}

#[test]
fn ranks_at_two_sites_compute_what_they_compute_at_one() {
    for (name, size) in [("cg", "40"), ("transpose", "240"), ("sort", "100000")] {
        let Some(module) = kernel(name) else { return };
        let mut sites = Sites::new(&module, 2, 4, &[size]);

        sites.lead(&[0, 0, 1, 1], &[], None).unwrap();

        let (said, ends) = sites.end();
        assert!(all_well(&ends, 4) && said.contains(": right"), "{name}: {said}{ends:?}");
    }
}

/// Small sizes, so that much of the time goes by between sites.
const KERNELS: [(&str, &str); 7] = [
    ("stencil", "400 2000"),
    ("transpose", "240 60"),
    ("spmv", "60 200"),
    ("cg", "100"),
    ("sort", "100000 20"),
    ("nbody", "200 60"),
    ("dgemm", "100 60"),
];

#[test]
fn ranks_that_move_between_sites_give_the_same_answers() {
    let places: [&[u32]; 6] =
        [&[0, 0, 1, 1], &[0, 1, 1, 1], &[1, 1, 0, 0], &[0, 0, 0, 0], &[2, 0, 1, 2], &[0, 0, 1, 1]];
    let mut moves = 0;
    for (name, arguments) in KERNELS {
        let Some(module) = kernel(name) else { return };
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let mut sites = Sites::new(&module, 3, 4, &arguments);
        for places in places {
            match sites.lead(places, &[], None) {
                Ok(()) => moves += 1,
                Err(error) => {
                    println!("{name}: {}", types::chain(&error));
                    break;
                }
            }
        }

        let (said, ends) = sites.end();
        assert!(all_well(&ends, 4) && said.contains(": right"), "{name}: {said}{ends:?}");
    }
    assert!(moves > 20, "the programs were too fast: {moves}");
}

/// Most moves of one run.
const MOVES: usize = 12;

/// These programs use all that MPI has; whatever they are in the middle of, they move.
#[test]
fn every_function_group_survives_moves_at_random_moments() {
    let mut moves = 0;
    let mut seed = 11_u64;
    let mut below = |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % bound
    };
    let programs =
        ["point_to_point", "requests", "collectives", "operations", "datatypes", "one_sided"];
    for name in programs {
        let Some(module) = guests::migratable_ranks(&format!("mpi/{name}.c"), &[]) else { return };
        for ranks in [2, 3, 4] {
            let mut sites = Sites::new(&module, 2, ranks, &[]);
            let mut random = || (0..ranks).map(|_| below(2) as u32).collect::<Vec<u32>>();
            sites.lead(&random(), &[], None).unwrap();
            // So many that programs still come to their ends between them.
            for _ in 0..MOVES {
                if sites.lead(&random(), &[], None).is_err() {
                    break;
                }
                moves += 1;
            }

            let (said, ends) = sites.end();
            assert!(all_well(&ends, ranks) && said == "ok\n", "{name} {ranks}: {said}{ends:?}");
        }
    }
    assert!(moves > 10, "the programs were too fast: {moves}");
}

#[test]
fn a_move_that_is_given_up_after_any_step_changes_nothing() {
    let Some(module) = kernel("stencil") else { return };
    let mut sites = Sites::new(&module, 3, 4, &["200", "2500"]);
    sites.lead(&[0, 0, 1, 1], &[], None).unwrap();
    let mut given_up = 0;
    for until in [Step::Copy, Step::Stop, Step::Send, Step::Arrive] {
        if sites.lead(&[2, 1, 0, 1], &[], Some(until.clone())).is_err() {
            break;
        }
        given_up += 1;
    }
    assert_eq!(given_up, 4);
    // After all that it still moves.
    sites.lead(&[2, 1, 0, 1], &[], None).unwrap();

    let (said, ends) = sites.end();
    assert!(all_well(&ends, 4) && said.contains(": right"), "{said}{ends:?}");
}

#[test]
fn ranks_go_on_from_what_each_of_several_sites_wrote() {
    let Some(module) = kernel("cg") else { return };
    let folder = tempfile::tempdir().unwrap();
    let files = [folder.path().join("0"), folder.path().join("1")];
    let mut sites = Sites::new(&module, 2, 4, &["300"]);
    sites.lead(&[0, 1, 0, 1], &[], None).unwrap();
    sites.all(&[0, 1], 2, &Step::Stop).unwrap();
    // A late word about what is over.
    sites.all(&[0, 1], 1, &Step::Undo).unwrap();
    assert!(sites.all(&[0, 1], 1, &Step::Stop).is_err());
    for (site, file) in [(0, &files[0]), (1, &files[1])] {
        // Both wait for each other's last messages.
        let (remote, file) = (sites.remotes[site].clone(), vec![file.clone()]);
        sites.running.push(std::thread::spawn(move || {
            let listen = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let means = Means { uid: UID, number: 2, listen, files: &file };
            assert!(matches!(remote.step(Step::Save, &means).unwrap(), Stepped::Written(_)));
        }));
    }
    sites.running.drain(2..).for_each(|saving| saving.join().unwrap());
    sites.all(&[0, 1], 2, &Step::Undo).unwrap();
    assert!(sites.all(&[0, 1], 2, &Step::Stop).is_err(), "a stop that comes after its end");
    let (said, ends) = sites.end();
    assert!(all_well(&ends, 4) && said.contains(": right"), "{said}{ends:?}");

    let mut again = Sites::new(&module, 3, 4, &["300"]);
    again.lead(&[2, 2, 1, 0], &files, None).unwrap();

    let (said, ends) = again.end();
    assert!(all_well(&ends, 4) && said.contains(": right"), "{said}{ends:?}");
    let one = Sites::new(&module, 1, 4, &["300"]).lead(&[0, 0, 0, 0], &files[..1], None);
    assert!(one.is_err(), "the part of another site is missing");
}

/// What connects without the secret is closed; what has it and lies ends the move, not the ranks.
#[test]
fn strangers_and_liars_at_the_door_do_no_harm() {
    let Some(module) = kernel("stencil") else { return };
    let mut sites = Sites::new(&module, 3, 2, &["200", "2000"]);
    sites.lead(&[0, 1], &[], None).unwrap();
    let before = sites.layout.clone();
    let lies: [&[u8]; 5] = [
        b"",
        b"CSKSNAP\0 and nothing of the kind",
        &[0xff; 4096],
        b"CSKSNAP\0\x01\0\0\0\0\0\0\0\x09\0\x01\0\xff\xff\xff\xff",
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    for (number, lie) in (2..).zip(lies) {
        let layout = Layout { number, places: vec![2, 1] };
        let step = Step::Prepare {
            here: 2,
            incarnation: 1,
            layout,
            before: before.clone(),
            restore: Vec::new(),
        };
        let Ok(Stepped::Open { address, secret }) = sites.step(2, number, step, &[]) else {
            panic!("it does not listen");
        };
        let say = |about: &str, secret: &str, rest: &[u8]| {
            let mut stream = TcpStream::connect(address).unwrap();
            let field = |text: &str| [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat();
            let hello = [b"CSKRANK1".as_slice(), &field(about), &field(secret), rest].concat();
            // It may hang up before it has heard all.
            let _ = stream.write_all(&hello);
            stream
        };
        for (about, shown) in [(UID, "no secret"), ("another", &*secret)] {
            let mut stranger = say(about, shown, lie);
            stranger.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            assert!(!matches!(stranger.read(&mut [0; 8]), Ok(1..)), "a stranger was answered");
        }
        let states = [&0_u32.to_le_bytes(), &0_u32.to_le_bytes(), lie].concat();
        drop(say(UID, &secret, &states));
        let refused = sites.step(2, number, Step::Arrive, &[]).unwrap_err();
        assert!(matches!(refused, Error::Handover(_)), "{refused}");
        sites.step(2, number, Step::Undo, &[]).unwrap();
    }

    let (said, ends) = sites.end();
    assert!(all_well(&ends, 2) && said.contains(": right"), "{said}{ends:?}");
}
