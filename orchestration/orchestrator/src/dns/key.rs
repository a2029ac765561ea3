//! The shared secret of outsiders that may copy and change the zone (TSIG, RFC 8945).

use super::{Error, Result, handler::Signature};
use data_encoding::BASE64;
use hickory_proto::{
    ProtoError,
    rr::{
        Name, TSigResponseContext, TSigner,
        rdata::{
            TSIG,
            tsig::{TsigAlgorithm, TsigError, make_tsig_record},
        },
    },
};
use hickory_server::server::Request;
use std::{
    collections::HashSet,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

/// How far the clocks of a client and ours may differ, in seconds; what RFC 8945 recommends.
const FUDGE_SECONDS: u16 = 300;

/// Shorter secrets can be guessed.
const SECRET_MIN_BYTES: usize = 16;

/// Most updates within one second of a client's clock; more are refused as replays.
const UPDATES_MAX_PER_SECOND: usize = 1024;

/// A TSIG key with HMAC-SHA-256. `Debug` never prints the secret.
#[derive(Clone)]
pub struct Key {
    signer: TSigner,
    seen: Arc<Mutex<Seen>>,
}

/// The newest signed time of an update, and the signatures seen at it: what is older, or is
/// among them, is a replay.
#[derive(Default)]
struct Seen {
    time: u64,
    signatures: HashSet<Vec<u8>>,
}

/// What a request's signature proved.
pub(super) enum Proof {
    /// It has none.
    Unsigned,
    /// Its sender holds the key.
    Genuine(Signing),
    /// It proves nothing; the response says so.
    Bad(Signing),
}

/// What it takes to sign the response to one request.
pub(super) struct Signing {
    context: TSigResponseContext,
    /// Signs what follows the first message; absent if the request's key is not ours.
    signer: Option<TSigner>,
    now: u64,
    id: u16,
}

/// Signs the messages of one response, each over the signature of the one before it.
pub(super) struct Chain {
    /// Taken by the first message.
    context: Option<TSigResponseContext>,
    signer: Option<TSigner>,
    previous_mac: Vec<u8>,
    now: u64,
    id: u16,
}

impl Signing {
    pub(super) fn chain(self) -> Chain {
        let Self { context, signer, now, id } = self;
        Chain { context: Some(context), signer, previous_mac: Vec::new(), now, id }
    }
}

impl Chain {
    /// The signature of the next message, which is encoded in `message` without one.
    pub(super) fn sign(&mut self, message: &[u8]) -> Result<Signature, ProtoError> {
        if let Some(context) = self.context.take() {
            let signature = context.sign(message)?;
            self.previous_mac = signature.data.mac.clone();
            return Ok(signature);
        }
        let signer = self.signer.as_ref().ok_or("a refusal is one message")?;
        // RFC 8945, section 5.3.1: what is signed holds only the time of each later message.
        let mut signed = Vec::with_capacity(message.len() + 64);
        signed.extend((self.previous_mac.len() as u16).to_be_bytes());
        signed.extend(&self.previous_mac);
        signed.extend(message);
        signed.extend(&self.now.to_be_bytes()[2..]);
        signed.extend(FUDGE_SECONDS.to_be_bytes());
        let mac = signer.sign(&signed).map_err(|error| ProtoError::from(error.to_string()))?;
        self.previous_mac = mac.clone();
        let algorithm = signer.algorithm().clone();
        let tsig = TSIG::new(algorithm, self.now, FUDGE_SECONDS, mac, self.id, None, Vec::new());
        Ok(Box::new(make_tsig_record(signer.signer_name().clone(), tsig)))
    }

    /// Most bytes that one signature adds to a message.
    pub(super) fn size_bytes(&self) -> usize {
        let name_bytes = self.signer.as_ref().map_or(255, |signer| signer.signer_name().len() + 1);
        // Record header, algorithm name, times, signature and lengths, rounded up.
        name_bytes + 100
    }
}

impl Key {
    /// A key from its name and secret.
    ///
    /// # Errors
    /// [`Error::Key`] if the name is no domain name or the secret is short.
    pub fn new(name: &str, secret: &[u8]) -> Result<Self> {
        let wrong = |reason: String| Error::Key { reason };
        let name = Name::from_str(name)
            .ok()
            .filter(|name| !name.is_root())
            .ok_or_else(|| wrong("its name is not a domain name".to_owned()))?;
        if secret.len() < SECRET_MIN_BYTES {
            return Err(wrong(format!(
                "its secret has {} bytes, fewer than {SECRET_MIN_BYTES}",
                secret.len()
            )));
        }
        let algorithm = TsigAlgorithm::HmacSha256;
        TSigner::new(secret.to_owned(), algorithm, name.to_lowercase(), FUDGE_SECONDS)
            .map(|signer| Self { signer, seen: Arc::default() })
            .map_err(|error| wrong(error.to_string()))
    }

    /// A new random secret under `name`.
    ///
    /// # Errors
    /// [`Error::Key`] if the name is no domain name or there is no randomness.
    pub fn random(name: &str) -> Result<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| Error::Key { reason: error.to_string() })?;
        Self::new(name, &secret)
    }

    /// The key as `nsupdate -y` and `dig -y` take it: `hmac-sha256:name:secret`.
    pub fn reveal(&self) -> String {
        let name = self.signer.signer_name().to_string();
        let secret = BASE64.encode(self.signer.key());
        format!("hmac-sha256:{}:{secret}", name.trim_end_matches('.'))
    }

    #[cfg(test)]
    pub(super) fn signer(&self) -> &TSigner {
        &self.signer
    }

    /// Whether an update signed so was taken before.
    pub(super) fn is_replay(&self, time: u64, signature: &[u8]) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if time > seen.time {
            *seen = Seen { time, signatures: HashSet::new() };
        }
        time < seen.time
            || seen.signatures.len() >= UPDATES_MAX_PER_SECOND
            || !seen.signatures.insert(signature.to_owned())
    }
}

impl FromStr for Key {
    type Err = Error;

    /// Reads what [`Key::reveal`] writes.
    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<_> = text.trim().split(':').collect();
        let [algorithm, name, secret] = parts.as_slice() else {
            return Err(Error::Key { reason: "write it as `hmac-sha256:name:secret`".to_owned() });
        };
        if !algorithm.eq_ignore_ascii_case("hmac-sha256") {
            return Err(Error::Key { reason: "its algorithm is not hmac-sha256".to_owned() });
        }
        let secret = BASE64
            .decode(secret.as_bytes())
            .map_err(|_| Error::Key { reason: "its secret is not base64".to_owned() })?;
        Self::new(name, &secret)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, …)", self.signer.signer_name())
    }
}

/// What the request's signature, if any, proves at `now` (seconds since 1970).
pub(super) fn prove(key: Option<&Key>, request: &Request, now: u64) -> Proof {
    let Some(record) = request.signature.as_deref() else {
        return Proof::Unsigned;
    };
    let id = request.metadata.id;
    let tsig = &record.data;
    let signing = |context, signer| Signing { context, signer, now, id };
    let Some(key) = key.filter(|key| {
        *key.signer.signer_name() == record.name && *key.signer.algorithm() == tsig.algorithm
    }) else {
        let context = TSigResponseContext::unknown_key(id, now, record.name.clone());
        return Proof::Bad(signing(context, None));
    };
    let signer = key.signer.clone();
    // The verifier subtracts the one from the other; only its time's holder could make it fail.
    let plausible = tsig.time >= u64::from(tsig.fudge);
    if !plausible || signer.verify_message_byte(request.as_slice(), None, true).is_err() {
        let context = TSigResponseContext::bad_signature(id, now, signer.clone());
        return Proof::Bad(signing(context, Some(signer)));
    }
    let context =
        |error| TSigResponseContext::new(id, now, signer.clone(), tsig.mac.clone(), error);
    if now.abs_diff(tsig.time) > u64::from(tsig.fudge.min(FUDGE_SECONDS)) {
        let context = context(Some(TsigError::BadTime));
        return Proof::Bad(signing(context, Some(signer)));
    }
    Proof::Genuine(signing(context(None), Some(signer.clone())))
}
