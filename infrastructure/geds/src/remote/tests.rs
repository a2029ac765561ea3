//! Nodes of other sites that lie.

use super::{
    frame::{Header, Kind, greeting},
    message::{Answer, Name, Request, decode, encode},
    own::Own,
    peer::Peer,
};
use crate::{Attributes, ErrorKind, Result, Stat, Tier};
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
};

fn frame(kind: Kind, id: u64, last: bool, payload: &[u8]) -> Vec<u8> {
    let header = Header::of(kind, id, last, payload).unwrap();
    [&header.to_bytes()[..], payload].concat()
}

fn answer(id: u64, last: bool, answer: &Answer) -> Vec<u8> {
    frame(Kind::Answer, id, last, &encode(answer).unwrap())
}

fn next(stream: &mut TcpStream) -> Option<(u64, Request)> {
    let mut bytes = [0; 20];
    stream.read_exact(&mut bytes).ok()?;
    let header = Header::parse(&bytes).unwrap();
    let mut payload = vec![0; header.len as usize];
    stream.read_exact(&mut payload).ok()?;
    Some((header.id, decode(&payload).unwrap()))
}

/// A node that says who it is as it should, and answers what comes then with anything.
fn liar(lies: impl Fn(u64, Request) -> Vec<u8> + Send + 'static) -> Peer {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.read_exact(&mut [0; 16]).unwrap();
            stream.write_all(&greeting()).unwrap();
            let Some((id, Request::Hello { .. })) = next(&mut stream) else { continue };
            let welcome = Answer::Welcome { site: "liar".to_owned(), run: 1 };
            stream.write_all(&answer(id, true, &welcome)).unwrap();
            while let Some((id, request)) = next(&mut stream) {
                if stream.write_all(&lies(id, request)).is_err() {
                    break;
                }
            }
        }
    });
    Peer::new(Own { site: "here".to_owned(), identity: None, token: None }, "liar", address, None)
}

fn stat(size: u64) -> Stat {
    let (tier, attributes) = (Tier::Memory, Attributes::new());
    Stat { size, version: 7, modified: 0, crc32c: None, tier, site: None, class: None, attributes }
}

fn name() -> Name {
    Name { tenant: "lab".to_owned(), bucket: "frames".to_owned(), key: "k".to_owned() }
}

/// Reads ten bytes from a node that answers so.
fn read(lie: impl Fn(u64) -> Vec<u8> + Send + 'static) -> Result<Vec<u8>> {
    let peer = liar(move |id, _| lie(id));
    let request = Request::Read { name: name(), version: None, offset: 0, len: 10, copy: false };
    let lane = peer.lane()?;
    let mut asked = lane.ask(&request)?;
    let mut bytes = vec![0; 10];
    let mut at = 0;
    while at < bytes.len() {
        at += asked.bytes(&mut bytes[at..])?.0;
    }
    Ok(bytes)
}

#[test]
fn bytes_are_believed_only_if_they_are_what_was_said() {
    let said = |id| answer(id, false, &Answer::Bytes { stat: stat(10), len: 10 });
    let data = |id, last, bytes: &[u8]| frame(Kind::Data, id, last, bytes);
    assert_eq!(
        read(move |id| [said(id), data(id, true, b"0123456789")].concat()).unwrap(),
        b"0123456789"
    );
    let halves = move |id| [said(id), data(id, false, b"01234"), data(id, true, b"56789")].concat();
    assert_eq!(read(halves).unwrap(), b"0123456789");
    let lies: [Box<dyn Fn(u64) -> Vec<u8> + Send>; 9] = [
        Box::new(move |id| [said(id), data(id, true, b"01234")].concat()),
        Box::new(move |id| [said(id), data(id, true, b"0123456789a")].concat()),
        Box::new(move |id| [said(id), data(id, false, b"0123456789")].concat()),
        Box::new(move |id| [said(id), data(id + 1, true, b"0123456789")].concat()),
        Box::new(move |id| [said(id), data(id, false, b"")].concat()),
        Box::new(move |id| {
            let mut data = data(id, true, b"0123456789");
            data[25] ^= 1;
            [said(id), data].concat()
        }),
        Box::new(move |id| [said(id), answer(id, true, &Answer::Done)].concat()),
        Box::new(|id| frame(Kind::Answer, id, true, &[255; 9])),
        Box::new(|_| vec![255; 60]),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let error = read(lie).unwrap_err();
        let kind = error.kind();
        assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::Unavailable), "{number}: {error}");
    }
}

#[test]
fn a_node_that_says_nothing_or_ends_is_not_waited_for() {
    for lie in [Vec::new(), vec![9, 0, 0]] {
        let error = read(move |_| lie.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    let peer = liar(|id, _| answer(id, true, &Answer::Done));
    assert_eq!(peer.ask(&Request::Stat { name: name() }).unwrap(), Answer::Done);
    let other = Peer::new(
        Own { site: "here".to_owned(), identity: None, token: None },
        "else",
        {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            listener.local_addr().unwrap()
        },
        None,
    );
    assert_eq!(other.lane().unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_node_that_answers_for_another_site_is_refused() {
    let peer = liar(|_, _| Vec::new());
    let address = peer.address();
    let other = Peer::new(
        Own { site: "here".to_owned(), identity: None, token: None },
        "cloud",
        address,
        None,
    );
    let error = other.lane().unwrap_err();
    assert!(error.to_string().contains("`liar` answers there"), "{error}");
}
