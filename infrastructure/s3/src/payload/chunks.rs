//! Bodies in the encoding `aws-chunked`: pieces with their sizes and signatures, and headers behind
//! the last.
//!
//! [`Decoder`] is fed whatever arrived and passes data on without copying it. Data is passed on
//! before its signature is known: whoever takes it stores nothing until [`Decoder::finish`] agrees.

use crate::sign::ChunkSigner;
use bytes::Bytes;
use ring::digest;

/// The longest line that announces a piece, or that is a header behind the last.
const LINE_MAX_BYTES: usize = 4096;

/// Most headers behind the last piece.
const TRAILERS_MAX: usize = 16;

/// Headers behind the last piece; names are in lower case.
pub(crate) type Trailers = Vec<(String, String)>;

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error("a chunk's announcement is malformed")]
    Malformed,
    #[error("the headers behind the last chunk are malformed")]
    Trailers,
    #[error("the signature of a chunk does not match")]
    Signature,
    #[error("the chunks hold another number of bytes than was announced")]
    Length,
}

/// Where in the encoding the decoder is.
#[derive(Debug)]
enum State {
    /// In the line that announces a piece.
    Announcement,
    /// Within a piece.
    Data { left: u64 },
    /// In the line break behind a piece.
    Break,
    /// Behind the last piece.
    Trailers,
    /// Behind everything.
    End,
}

/// Takes `aws-chunked` apart.
pub(crate) struct Decoder {
    state: State,
    signer: Option<Box<ChunkSigner>>,
    has_trailers: bool,
    /// Bytes of data still to come.
    left: u64,
    line: Vec<u8>,
    hash: digest::Context,
    signature: String,
    trailers: Trailers,
}

impl Decoder {
    /// For a body of `length` bytes of data.
    pub(crate) fn new(signer: Option<Box<ChunkSigner>>, has_trailers: bool, length: u64) -> Self {
        Self {
            state: State::Announcement,
            signer,
            has_trailers,
            left: length,
            line: Vec::new(),
            hash: digest::Context::new(&digest::SHA256),
            signature: String::new(),
            trailers: Vec::new(),
        }
    }

    /// The next piece of data within `input`, which is what arrived and is used up.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Bytes>, ChunkError> {
        while !input.is_empty() {
            if let State::Data { left } = &mut self.state {
                let available = usize::try_from(*left).map_or(input.len(), |l| l.min(input.len()));
                let data = input.split_to(available);
                *left -= data.len() as u64;
                let is_over = *left == 0;
                self.took(&data, is_over)?;
                return Ok(Some(data));
            }
            if self.fill_line(input)? {
                let line = std::mem::take(&mut self.line);
                self.line(&line)?;
            }
        }
        Ok(None)
    }

    /// Whether everything came and agrees; the headers behind the last piece.
    pub(crate) fn finish(mut self) -> Result<Trailers, ChunkError> {
        // Some clients leave out the last line breaks.
        if matches!(self.state, State::Trailers) {
            if !self.line.is_empty() {
                let line = std::mem::take(&mut self.line);
                self.line(&line)?;
            }
            self.end_of_trailers()?;
        }
        if !matches!(self.state, State::End) || self.left != 0 {
            return Err(ChunkError::Length);
        }
        Ok(self.trailers)
    }

    fn took(&mut self, data: &[u8], is_over: bool) -> Result<(), ChunkError> {
        if let Some(signer) = &mut self.signer {
            self.hash.update(data);
            if is_over {
                check_chunk(signer, &mut self.hash, &self.signature)?;
            }
        }
        if is_over {
            self.state = State::Break;
        }
        Ok(())
    }

    /// Moves one line from the input, without its break; false if its end has not arrived.
    fn fill_line(&mut self, input: &mut Bytes) -> Result<bool, ChunkError> {
        if matches!(self.state, State::End) {
            return Err(ChunkError::Malformed);
        }
        let end = input.iter().position(|byte| *byte == b'\n');
        let taken = input.split_to(end.map_or(input.len(), |end| end + 1));
        if self.line.len() + taken.len() > LINE_MAX_BYTES {
            return Err(ChunkError::Malformed);
        }
        self.line.extend_from_slice(&taken);
        Ok(end.is_some())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), ChunkError> {
        let text = std::str::from_utf8(line).map_err(|_| ChunkError::Malformed)?;
        let text = text.trim_end_matches(['\r', '\n']);
        match self.state {
            State::Announcement => self.announcement(text),
            State::Break if text.is_empty() => {
                self.state = State::Announcement;
                Ok(())
            }
            State::Trailers if text.is_empty() => {
                // Amazon's documentation shows a break before the signature.
                let waits = self.signer.is_some() && self.has_trailers && self.signature.is_empty();
                if waits { Ok(()) } else { self.end_of_trailers() }
            }
            State::Trailers => self.trailer(text),
            _ => Err(ChunkError::Malformed),
        }
    }

    /// `<size in hexadecimal>[;chunk-signature=<signature>]`.
    fn announcement(&mut self, text: &str) -> Result<(), ChunkError> {
        let (size, extension) = text.split_once(';').unwrap_or((text, ""));
        let is_hexadecimal = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = is_hexadecimal
            .then(|| u64::from_str_radix(size, 16).ok())
            .flatten()
            .ok_or(ChunkError::Malformed)?;
        if self.signer.is_some() {
            let signature = extension.trim().strip_prefix("chunk-signature=");
            self.signature = signature.ok_or(ChunkError::Malformed)?.to_owned();
        }
        self.left = self.left.checked_sub(size).ok_or(ChunkError::Length)?;
        if size > 0 {
            self.state = State::Data { left: size };
            return Ok(());
        }
        if let Some(signer) = &mut self.signer {
            check_chunk(signer, &mut self.hash, &self.signature)?;
        }
        self.signature.clear();
        self.state = State::Trailers;
        Ok(())
    }

    /// `<name>:<value>`.
    fn trailer(&mut self, text: &str) -> Result<(), ChunkError> {
        let (name, value) = text.split_once(':').ok_or(ChunkError::Trailers)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().to_owned());
        if name == "x-amz-trailer-signature" {
            self.signature = value;
            return Ok(());
        }
        if !self.has_trailers || self.trailers.len() == TRAILERS_MAX {
            return Err(ChunkError::Trailers);
        }
        self.trailers.push((name, value));
        Ok(())
    }

    fn end_of_trailers(&mut self) -> Result<(), ChunkError> {
        self.state = State::End;
        self.trailers.sort();
        let Some(signer) = self.signer.as_mut().filter(|_| self.has_trailers) else {
            return Ok(());
        };
        let text: String =
            self.trailers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        if signer.trailers(&text, &self.signature) { Ok(()) } else { Err(ChunkError::Signature) }
    }
}

/// Checks the signature of the data that was hashed since the last time.
fn check_chunk(
    signer: &mut ChunkSigner,
    hash: &mut digest::Context,
    signature: &str,
) -> Result<(), ChunkError> {
    let hash = std::mem::replace(hash, digest::Context::new(&digest::SHA256)).finish();
    if signer.chunk(&hash, signature) { Ok(()) } else { Err(ChunkError::Signature) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fault::Fault, sign::Scope};

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const DATE: &str = "20130524T000000Z";
    const SEED: &str = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";

    fn signer() -> Box<ChunkSigner> {
        let credential = "AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request";
        let scope = Scope::parse(credential, DATE, Fault::AccessDenied).expect("a credential");
        Box::new(ChunkSigner::of(&scope, SECRET, DATE, SEED))
    }

    /// Decodes a body that arrives in pieces of `step` bytes.
    fn decode(
        mut decoder: Decoder,
        body: &[u8],
        step: usize,
    ) -> Result<(Vec<u8>, Trailers), ChunkError> {
        let mut data = Vec::new();
        for piece in body.chunks(step) {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(piece) = decoder.next(&mut input)? {
                data.extend_from_slice(&piece);
            }
        }
        Ok((data, decoder.finish()?))
    }

    /// The body of Amazon's documentation: 65 KiB in chunks of 64 KiB.
    fn documented() -> Vec<u8> {
        let mut body = Vec::new();
        for (size, signature) in [
            (65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        ] {
            body.extend(format!("{size:x};chunk-signature={signature}\r\n").bytes());
            body.extend(vec![b'a'; size]);
            body.extend(b"\r\n");
        }
        body
    }

    #[test]
    fn reads_the_documented_body_however_it_arrives() {
        for step in [1, 7, 4096, 1 << 20] {
            let decoder = Decoder::new(Some(signer()), false, 66560);
            let (data, trailers) = decode(decoder, &documented(), step).expect("a right body");

            assert_eq!(data, vec![b'a'; 66560]);
            assert_eq!(trailers, []);
        }
    }

    #[test]
    fn reads_headers_behind_unsigned_and_signed_pieces() {
        let expected = [("x-amz-checksum-crc32".to_owned(), "AAAAAA==".to_owned())];
        let unsigned = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
        let mut signer_of_client = signer();
        let signed = format!(
            "5;chunk-signature={}\r\nhello\r\n0;chunk-signature={}\r\n\
             x-amz-checksum-crc32:AAAAAA==\n\r\nx-amz-trailer-signature:{}\r\n\r\n",
            signer_of_client.sign_chunk(b"hello"),
            signer_of_client.sign_chunk(b""),
            signer_of_client.sign_trailers("x-amz-checksum-crc32:AAAAAA==\n"),
        );

        let (data, trailers) = decode(Decoder::new(None, true, 5), unsigned, 3).expect("right");
        assert_eq!((data.as_slice(), trailers.as_slice()), (&b"hello"[..], &expected[..]));
        let decoder = Decoder::new(Some(signer()), true, 5);
        let (data, trailers) = decode(decoder, signed.as_bytes(), 3).expect("right");
        assert_eq!((data.as_slice(), trailers.as_slice()), (&b"hello"[..], &expected[..]));
    }

    #[test]
    fn refuses_what_was_changed() {
        let mut body = documented();
        body[100] ^= 1;
        let decoder = Decoder::new(Some(signer()), false, 66560);
        assert_eq!(decode(decoder, &body, 4096), Err(ChunkError::Signature));

        let mut client = signer();
        let unsigned_trailer = format!(
            "0;chunk-signature={}\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
            client.sign_chunk(b"")
        );
        let decoder = Decoder::new(Some(signer()), true, 0);
        assert_eq!(decode(decoder, unsigned_trailer.as_bytes(), 9), Err(ChunkError::Signature));
    }

    #[test]
    fn refuses_wrong_lengths_and_forms() {
        let decode = |length, body: &[u8]| decode(Decoder::new(None, true, length), body, 2);

        assert_eq!(decode(4, b"5\r\nhello\r\n0\r\n\r\n"), Err(ChunkError::Length));
        assert_eq!(decode(6, b"5\r\nhello\r\n0\r\n\r\n"), Err(ChunkError::Length));
        assert_eq!(decode(5, b"5\r\nhello\r\n"), Err(ChunkError::Length));
        assert_eq!(decode(5, b"5\r\nhel"), Err(ChunkError::Length));
        assert_eq!(decode(5, b""), Err(ChunkError::Length));
        assert_eq!(decode(5, b"+5\r\nhello\r\n0\r\n\r\n"), Err(ChunkError::Malformed));
        assert_eq!(decode(5, b"5\r\nhelloworld\r\n"), Err(ChunkError::Malformed));
        assert_eq!(decode(5, b"5\r\nhello\r\n0\r\n\r\nmore"), Err(ChunkError::Malformed));
        assert_eq!(decode(5, b"5\r\nhello\r\n0\r\nno colon\r\n\r\n"), Err(ChunkError::Trailers));
        assert_eq!(decode(5, &[b'1'; 5000]), Err(ChunkError::Malformed));
        assert_eq!(decode(5, b"ffffffffffffffffff\r\n"), Err(ChunkError::Malformed));
        assert_eq!(decode(5, b"5\r\nhello\r\n0\r\n"), Ok((b"hello".to_vec(), Vec::new())));
    }
}
