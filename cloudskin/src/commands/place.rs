//! Addresses with or without a port.

use std::{
    fmt,
    net::{AddrParseError, IpAddr, SocketAddr},
    str::FromStr,
};

/// An address of this machine, as options name it: `10.0.0.1`, `10.0.0.1:8470`, `[fd00::1]:8470`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: IpAddr,
    pub(crate) port: Option<u16>,
}

impl Place {
    /// With this port if it names none.
    pub(crate) fn or_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, self.port.unwrap_or(port))
    }
}

impl FromStr for Place {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        match text.parse::<SocketAddr>() {
            Ok(both) => Ok(Self { address: both.ip(), port: Some(both.port()) }),
            Err(_) => Ok(Self { address: text.parse()?, port: None }),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_may_be_left_out() {
        for (text, or_8470) in [
            ("10.0.0.1", "10.0.0.1:8470"),
            ("10.0.0.1:9", "10.0.0.1:9"),
            ("fd00::1", "[fd00::1]:8470"),
            ("[fd00::1]:9", "[fd00::1]:9"),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!(
                (place.to_string(), place.or_port(8470).to_string()),
                (text.into(), or_8470.into())
            );
        }
        for wrong in ["", "host", "10.0.0.1:", "10.0.0.1:99999", "10.0.0"] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }
}
