//! Whether the ports are free, and who holds those that are not.

use super::{Error, Result, process::command_line};
use std::{
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
};

/// How a port is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

/// A port that a continuum needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The child that opens it.
    pub child: String,
    /// What it is for.
    pub purpose: String,
    /// Where.
    pub address: SocketAddr,
    pub(super) transport: Transport,
    /// Who holds it, when it is taken and that can be found out.
    pub holder: Option<Holder>,
}

/// A process that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: i32,
    /// The beginning of its command line.
    pub command: String,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ip, port) = (self.address.ip(), self.address.port());
        write!(f, "port {port} of {ip}, for {}, is taken by ", self.purpose)?;
        match &self.holder {
            Some(Holder { pid, command }) => write!(f, "pid {pid} (`{command}`)"),
            None => f.write_str("a process that this user may not see"),
        }
    }
}

/// Those of the listeners that are taken, with their holders.
///
/// # Errors
/// If an address cannot be bound for another reason.
pub fn check(listeners: Vec<Listener>) -> Result<Vec<Listener>> {
    let mut taken = Vec::new();
    for mut listener in listeners {
        let bound = match listener.transport {
            Transport::Tcp => TcpListener::bind(listener.address).map(drop),
            Transport::Udp => UdpSocket::bind(listener.address).map(drop),
        };
        match bound {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                listener.holder = holder(listener.address, listener.transport);
                taken.push(listener);
            }
            Err(source) => {
                let Listener { address, purpose, .. } = listener;
                return Err(Error::Listen { address, purpose, source });
            }
        }
    }
    Ok(taken)
}

/// The process that listens there, if this user may know.
pub(super) fn holder(address: SocketAddr, transport: Transport) -> Option<Holder> {
    let tables = match transport {
        Transport::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Transport::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let inode = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| find_inode(&table, address, transport))?;
    let pid = socket_owner(inode)?;
    let command = command_line(pid).unwrap_or_default().join(" ");
    Some(Holder { pid, command: command.chars().take(60).collect() })
}

/// The inode of the socket that listens on the address, or on all addresses, in a table of
/// `/proc/net`.
fn find_inode(table: &str, address: SocketAddr, transport: Transport) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        let (ip, port) = local.split_once(':')?;
        let ip = parse_ip(ip)?;
        let is_here = u16::from_str_radix(port, 16).ok()? == address.port()
            && (ip == address.ip() || ip.is_unspecified());
        // 0A is a TCP socket that listens.
        let listens = transport == Transport::Udp || *state == "0A";
        (is_here && listens).then(|| inode.parse().ok()).flatten()
    })
}

/// Addresses in `/proc/net` are words in the machine's byte order.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |text: Option<&str>| u32::from_str_radix(text?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(hex.get(..8))?))),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(hex.get(index * 8..index * 8 + 8))?);
            }
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

fn socket_owner(inode: u64) -> Option<i32> {
    let wanted = format!("socket:[{inode}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let mut descriptors = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        descriptors
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == &*wanted))
            .then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(address: SocketAddr, transport: Transport) -> Listener {
        Listener {
            child: "control".into(),
            purpose: "the control plane".into(),
            address,
            transport,
            holder: None,
        }
    }

    #[test]
    fn a_taken_port_is_named_with_its_holder() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = everywhere.local_addr().unwrap().port();
        let wanted = vec![
            listener(tcp.local_addr().unwrap(), Transport::Tcp),
            listener(udp.local_addr().unwrap(), Transport::Udp),
            listener(([127, 0, 0, 1], port).into(), Transport::Tcp),
            listener("127.0.0.1:0".parse().unwrap(), Transport::Tcp),
        ];

        let taken = check(wanted).unwrap();

        assert_eq!(taken.len(), 3);
        for listener in &taken {
            let own = i32::try_from(std::process::id()).unwrap();
            assert_eq!(listener.holder.as_ref().map(|holder| holder.pid), Some(own));
        }
        let text = Error::Ports(taken).to_string();
        let start = format!(
            "port {} of 127.0.0.1, for the control plane",
            tcp.local_addr().unwrap().port()
        );
        assert!(text.starts_with(&start), "{text}");
        assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
    }

    #[test]
    fn an_address_of_another_machine_is_an_error_of_its_own() {
        let error = check(vec![listener("192.0.2.1:1".parse().unwrap(), Transport::Tcp)]);

        assert!(matches!(error, Err(Error::Listen { .. })));
    }

    #[test]
    fn odd_tables_are_read_without_harm() {
        let address = "127.0.0.1:80".parse().unwrap();
        for odd in ["", "a\nb", "h\n0: 0100007F:ZZ 0 0A 0 0 0 0 0 1", "h\n0: é:50 0 0A 0 0 0 0 0 1"]
        {
            assert_eq!(find_inode(odd, address, Transport::Tcp), None);
        }
        let line = "h\n 0: 0100007F:0050 00000000:0000 0A 0:0 0:0 0 0 0 77 1";
        assert_eq!(find_inode(line, address, Transport::Tcp), Some(77));
    }
}
