//! The frames that sites exchange, as bytes.
//!
//! A frame is its kind and then its fields, integers in little-endian order. Rows and lists begin
//! with their length in 32 bits. Whoever reads a frame gets all of it or nothing. What the frames mean
//! to other implementations is in `docs/protocol/mpi-sites.md`.

/// Blocks of a memory: addresses and lengths.
pub(crate) type Blocks = Vec<(u32, u32)>;

/// What a frame is made of.
trait Field<'a>: Sized {
    fn put(&self, row: &mut Vec<u8>);
    fn take(row: &mut &'a [u8]) -> Option<Self>;
}

macro_rules! integers {
    ($($type:ty)*) => {
        $(impl<'a> Field<'a> for $type {
            fn put(&self, row: &mut Vec<u8>) {
                row.extend_from_slice(&self.to_le_bytes());
            }

            fn take(row: &mut &'a [u8]) -> Option<Self> {
                let (first, rest) = row.split_first_chunk()?;
                *row = rest;
                Some(Self::from_le_bytes(*first))
            }
        })*
    };
}

integers!(u8 u16 u32 u64 i32);

impl<'a> Field<'a> for &'a [u8] {
    fn put(&self, row: &mut Vec<u8>) {
        (self.len() as u32).put(row);
        row.extend_from_slice(self);
    }

    fn take(row: &mut &'a [u8]) -> Option<Self> {
        let len = u32::take(row)? as usize;
        let (first, rest) = row.split_at_checked(len)?;
        *row = rest;
        Some(first)
    }
}

impl<'a> Field<'a> for &'a str {
    fn put(&self, row: &mut Vec<u8>) {
        self.as_bytes().put(row);
    }

    fn take(row: &mut &'a [u8]) -> Option<Self> {
        std::str::from_utf8(Field::take(row)?).ok()
    }
}

impl<'a> Field<'a> for (u32, u32) {
    fn put(&self, row: &mut Vec<u8>) {
        self.0.put(row);
        self.1.put(row);
    }

    fn take(row: &mut &'a [u8]) -> Option<Self> {
        Some((u32::take(row)?, u32::take(row)?))
    }
}

impl<'a, T: Field<'a>> Field<'a> for Vec<T> {
    fn put(&self, row: &mut Vec<u8>) {
        (self.len() as u32).put(row);
        self.iter().for_each(|item| item.put(row));
    }

    fn take(row: &mut &'a [u8]) -> Option<Self> {
        // The row ends before a length that lies has taken more than it has.
        let len = u32::take(row)?;
        (0..len).map(|_| T::take(row)).collect()
    }
}

macro_rules! frames {
    ($a:lifetime $($(#[$about:meta])* $kind:literal $name:ident { $($field:ident: $type:ty),* })*) => {
        /// One frame.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) enum Frame<$a> {
            $($(#[$about])* $name { $($field: $type),* },)*
        }

        impl<$a> Frame<$a> {
            /// Its bytes.
            pub(crate) fn encode(&self) -> Vec<u8> {
                let mut row = Vec::with_capacity(64);
                match self {
                    $(Self::$name { $($field),* } => {
                        row.push($kind);
                        $(Field::put($field, &mut row);)*
                    })*
                }
                row
            }

            /// The frame that these bytes are, if they are one.
            pub(crate) fn decode(mut row: &$a [u8]) -> Option<Self> {
                let frame = match u8::take(&mut row)? {
                    $($kind => Self::$name { $($field: Field::take(&mut row)?),* },)*
                    _ => return None,
                };
                row.is_empty().then_some(frame)
            }
        }
    };
}

frames! { 'a
    /// A message that is copied at once.
    1 Eager { from: u32, to: u32, context: u32, tag: i32, bytes: &'a [u8] }
    /// A message that waits at its sender, under a number of the sender's.
    2 Announce { from: u32, to: u32, context: u32, tag: i32, bytes: u64, number: u64 }
    /// So many bytes of messages that were copied at once have found room at their receiver.
    3 Credit { from: u32, to: u32, bytes: u64 }
    /// Asks for the first bytes of a message that waits, to be sent under a ticket.
    4 Ask { from: u32, number: u64, ticket: u32, limit: u64 }
    /// Bytes that were asked for.
    5 Data { ticket: u32, offset: u64, bytes: &'a [u8] }
    /// What was asked for is done.
    6 Done { ticket: u32 }
    /// The sender wants a message back that waits.
    7 Cancel { from: u32, number: u64 }
    /// Whether it got it.
    8 Cancelled { from: u32, number: u64, yes: u8 }
    /// A member's entry in a round: how many bytes it offers to each who reads, and the first.
    9 Entry { context: u32, round: u64, member: u32, function: u16, root: i32, kind: u8, lengths: Vec<u64>, bytes: &'a [u8] }
    /// More bytes of an entry.
    10 Part { context: u32, round: u64, member: u32, bytes: &'a [u8] }
    /// The members at a site left a round and forgot what they were sent in it.
    11 Left { context: u32, round: u64 }
    /// A site has a communicator, so that its members can be written to.
    12 Made { context: u32 }
    /// A member's contribution to a small collective.
    13 Slot { context: u32, round: u64, member: u32, code: u64, bytes: &'a [u8] }
    /// The world ended.
    14 Abort { variant: u8, rank: u32, code: i32, function: &'a str, name: &'a str, class: &'a str, detail: &'a str }
    /// Whatever was sent before is to be delivered before this is answered.
    15 Marker { ticket: u32 }
    /// Writes into blocks of a member's window.
    16 Put { context: u32, target: u32, blocks: Blocks, bytes: &'a [u8] }
    /// Reads blocks of a member's window.
    17 Get { context: u32, target: u32, ticket: u32, offset: u64, blocks: Blocks }
    /// Combines into blocks of a member's window; sends what was there if `fetch` is not zero.
    18 Update { context: u32, target: u32, ticket: u32, fetch: u8, offset: u64, op: i32, kind: u8, blocks: Blocks, bytes: &'a [u8] }
    /// Replaces what is in blocks of a member's window if it is as expected; sends what was there.
    19 Swap { context: u32, target: u32, ticket: u32, blocks: Blocks, expected: &'a [u8], new: &'a [u8] }
    /// Asks for the lock of a member's window.
    20 Lock { context: u32, target: u32, kind: i32, ticket: u32 }
    /// Gives it back.
    21 Unlock { context: u32, target: u32, kind: i32, ticket: u32 }
    /// A target lets an origin in.
    22 Post { context: u32, target: u32, origin: u32 }
    /// An origin is through with a target.
    23 Complete { context: u32, target: u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were_and_torn_ones_do_not() {
        let frames = [
            Frame::Eager { from: 1, to: 2, context: 3, tag: -4, bytes: b"hello" },
            Frame::Entry {
                context: 1,
                round: 2,
                member: 3,
                function: 4,
                root: -1,
                kind: 2,
                lengths: vec![1, 2],
                bytes: b"abc",
            },
            Frame::Put {
                context: 1,
                target: 0,
                blocks: vec![(16, 4), (32, 4)],
                bytes: b"12345678",
            },
        ];
        for frame in frames {
            let row = frame.encode();
            assert_eq!(Frame::decode(&row), Some(frame));
            for len in 0..row.len() {
                assert_eq!(Frame::decode(&row[..len]), None);
            }
            assert_eq!(Frame::decode(&[&row[..], &[0]].concat()), None);
        }
    }

    #[test]
    fn frames_are_as_the_protocol_says() {
        let row = Frame::Eager { from: 0, to: 1, context: 0, tag: 7, bytes: b"hi" }.encode();
        let said = b"\x01\0\0\0\0\x01\0\0\0\0\0\0\0\x07\0\0\0\x02\0\0\0hi";
        assert_eq!(row, said);
        let places = [4, 103, 145, 176, 178, 197, 208, 219, 226, 229];
        let names = places.map(|place: usize| crate::FUNCTIONS[place]);
        let said = [
            "MPI_Finalize",
            "MPI_Comm_dup",
            "MPI_Dist_graph_create",
            "MPI_Barrier",
            "MPI_Bcast",
            "MPI_Ialltoallw",
            "MPI_Reduce",
            "MPI_Iexscan",
            "MPI_Win_create_dynamic",
            "MPI_Win_free",
        ];
        assert_eq!(names, said, "a function's number is part of the protocol");
    }

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        let mut row = Frame::Put { context: 1, target: 0, blocks: Vec::new(), bytes: b"" }.encode();
        row[9..13].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Frame::decode(&row), None);
    }
}
