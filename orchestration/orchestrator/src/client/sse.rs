//! Server-sent events, as the HTML standard defines their text.

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) data: String,
}

/// Cuts a stream of bytes into events, however the bytes arrive.
#[derive(Debug, Default)]
pub(super) struct Parser {
    line: Vec<u8>,
    ends_with_return: bool,
    event: Event,
    has_data: bool,
}

/// More than any event that is sent; what exceeds it is not our protocol.
pub(super) const EVENT_MAX_BYTES: usize = 8 << 20;

/// The event is larger than [`EVENT_MAX_BYTES`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {EVENT_MAX_BYTES} bytes")]
pub(super) struct TooLarge;

impl Parser {
    /// Takes the next bytes and returns the events that they complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLarge> {
        let mut events = Vec::new();
        for &byte in bytes {
            // A line ends with a return, a newline, or both together.
            let second_half = self.ends_with_return && byte == b'\n';
            self.ends_with_return = byte == b'\r';
            match byte {
                _ if second_half => {}
                b'\r' | b'\n' => events.extend(self.end_line()),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.event.data.len() > EVENT_MAX_BYTES {
                return Err(TooLarge);
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(value);
            }
            "id" => self.event.id = Some(value.to_owned()),
            "event" => self.event.name = Some(value.to_owned()),
            // Comments keep the connection alive; other fields are for browsers.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn events_end_with_an_empty_line() {
        let mut parser = Parser::default();

        let events = parser
            .feed(b": hello\nid: 7\nevent: change\ndata: {\"a\":\ndata:1}\n\ndata: x")
            .unwrap();
        let rest = parser.feed(b"\r\n\r\n\n\n").unwrap();

        assert_eq!(
            events,
            [Event {
                id: Some("7".into()),
                name: Some("change".into()),
                data: "{\"a\":\n1}".into()
            }]
        );
        assert_eq!(rest.len(), 1);
        assert_eq!(rest[0].data, "x");
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'a'; EVENT_MAX_BYTES / 2];

        assert_eq!(parser.feed(&piece), Ok(vec![]));
        assert_eq!(parser.feed(&piece), Ok(vec![]));
        assert_eq!(parser.feed(b"a"), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn how_bytes_are_cut_makes_no_difference(
            text in "(data: [a-c]{0,3}|id: [0-9]|:[a-c]|[a-c:]{0,4}|\r\n|\n|\r){0,20}", cut in 0_usize..60,
        ) {
            let bytes = text.as_bytes();
            let cut = cut.min(bytes.len());
            let (mut whole, mut halves) = (Parser::default(), Parser::default());
            let expected = whole.feed(bytes).unwrap();
            let mut events = halves.feed(&bytes[..cut]).unwrap();
            events.extend(halves.feed(&bytes[cut..]).unwrap());
            prop_assert_eq!(events, expected);
        }
    }
}
