//! Facts about the name server, asked over its real sockets.

mod outsiders;
mod queries;
mod switch;

use super::{Config, Server, Zone, serve};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RData, RecordType},
};
use std::{
    net::{IpAddr, SocketAddr},
    process::Output,
    str::FromStr,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    process::Command,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const STREET: &str = "street-counter.default.svc.cloudskin.internal.";

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A zone with one service at two addresses, served on a free port.
async fn street(config: Config) -> (Zone, SocketAddr) {
    let zone = Zone::new(config).unwrap();
    let addresses = [ip("127.0.0.2"), ip("::2")];
    zone.apply(&[zone.point("default", "street-counter", &addresses).unwrap()]).unwrap();
    let address = start(&zone).await.address();
    (zone, address)
}

async fn start(zone: &Zone) -> Server {
    serve(zone.clone(), "127.0.0.1:0".parse().unwrap(), CancellationToken::new()).await.unwrap()
}

fn question(name: &str, wanted: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), wanted));
    message
}

async fn ask(server: SocketAddr, name: &str, wanted: RecordType) -> Message {
    ask_message(server, &question(name, wanted)).await
}

async fn ask_message(server: SocketAddr, message: &Message) -> Message {
    let answer = exchange(server, &message.to_vec().unwrap()).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

/// The answer to a datagram, if one comes soon.
async fn exchange(server: SocketAddr, packet: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(packet, server).await.unwrap();
    let mut buffer = [0; 4096];
    let length = timeout(Duration::from_secs(2), socket.recv(&mut buffer)).await.ok()?.unwrap();
    Some(buffer[..length].to_vec())
}

async fn ask_tcp(server: SocketAddr, message: &Message) -> Message {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let bytes = message.to_vec().unwrap();
    stream.write_u16(bytes.len().try_into().unwrap()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    let address = |data: &RData| match data {
        RData::A(ip) => Some(IpAddr::V4(ip.0)),
        RData::AAAA(ip) => Some(IpAddr::V6(ip.0)),
        _ => None,
    };
    message.answers.iter().filter_map(|record| address(&record.data)).collect()
}

/// Runs a tool of Debian's bind9-dnsutils; absent if that is not installed.
async fn tool(program: &str, arguments: &[&str], input: &str) -> Option<Output> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        println!("skipped: `{program}` is missing (apt-get install bind9-dnsutils)");
        return None;
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    Some(child.wait_with_output().await.unwrap())
}

/// What dig prints, with its server and port filled in.
async fn dig(server: SocketAddr, arguments: &[&str]) -> Option<String> {
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let mut all = vec![at.as_str(), "-p", &port, "+tries=1", "+time=5"];
    all.extend(arguments);
    let output = tool("dig", &all, "").await?;
    Some(String::from_utf8(output.stdout).unwrap())
}

fn name(text: &str) -> Name {
    Name::from_str(text).unwrap()
}
