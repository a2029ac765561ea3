//! From a received message to the responses that go out.

use super::{
    answer::{self, Answer},
    key::{Chain, Proof, Signing, prove},
    transfer, update,
    zone::Zone,
};
use hickory_proto::{
    ProtoError,
    op::{Edns, Header, HeaderCounts, Metadata, OpCode, ResponseCode},
    rr::{Record, RecordType, rdata::TSIG},
    serialize::binary::BinEncoder,
};
use hickory_server::{
    net::{NetError, runtime::Time, xfer::Protocol},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tracing::debug;

/// Largest UDP response: what passes every usual path unfragmented (DNS flag day 2020).
const UDP_MAX_BYTES: u16 = 1232;

/// Least that every client takes by UDP.
const UDP_MIN_BYTES: u16 = 512;

/// Answers every request out of one zone.
pub(super) struct Handler {
    zone: Zone,
}

/// All that goes back for one request.
struct Reply {
    /// One message, or the many of a transfer.
    messages: Vec<Answer>,
    /// Present if the request was signed.
    signing: Option<Signing>,
}

impl Reply {
    fn code(code: ResponseCode) -> Self {
        Self { messages: vec![Answer::code(code)], signing: None }
    }
}

impl Handler {
    pub(super) fn new(zone: Zone) -> Self {
        Self { zone }
    }

    /// What to answer at `now` (seconds since 1970).
    fn decide(&self, request: &Request, now: u64) -> Reply {
        if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
            return Reply::code(ResponseCode::BADVERS);
        }
        if !matches!(request.metadata.op_code, OpCode::Query | OpCode::Update) {
            return Reply::code(ResponseCode::NotImp);
        }
        match prove(self.zone.key(), request, now) {
            Proof::Bad(signing) => {
                Reply { signing: Some(signing), ..Reply::code(ResponseCode::NotAuth) }
            }
            Proof::Genuine(signing) => {
                Reply { messages: self.decide_for(request, true), signing: Some(signing) }
            }
            Proof::Unsigned => Reply { messages: self.decide_for(request, false), signing: None },
        }
    }

    fn decide_for(&self, request: &Request, signed: bool) -> Vec<Answer> {
        let [query] = request.queries.queries() else {
            return vec![Answer::code(ResponseCode::FormErr)];
        };
        let stream = request.protocol() != Protocol::Udp;
        match (request.metadata.op_code, query.query_type()) {
            (OpCode::Update, _) => {
                vec![Answer::code(update::update(&self.zone, request, query, signed))]
            }
            // An incremental transfer may be answered by a whole one (RFC 1995, section 4).
            (_, RecordType::AXFR | RecordType::IXFR) if stream => {
                let allowed = signed || request.src().ip().to_canonical().is_loopback();
                transfer::transfer(&self.zone, query, allowed)
            }
            (_, RecordType::AXFR) => vec![Answer::code(ResponseCode::FormErr)],
            _ => vec![answer::answer(&self.zone, query)],
        }
    }

    /// All messages of the response, signed and encoded.
    #[cfg(test)]
    pub(super) fn respond(&self, request: &Request, now: u64) -> Result<Vec<Vec<u8>>, ProtoError> {
        let reply = self.decide(request, now);
        let edns = response_edns(request);
        let mut chain = reply.signing.map(Signing::chain);
        let messages = reply.messages.iter().map(|message| {
            let metadata = response_metadata(request, message.code);
            let bytes = encode(request, metadata, message, edns.as_ref())?;
            chain.as_mut().map(|chain| chain.sign(&bytes)).transpose()?;
            Ok(bytes)
        });
        messages.collect()
    }

    async fn send<R: ResponseHandler>(
        &self,
        request: &Request,
        reply: Reply,
        mut responses: R,
    ) -> Result<Metadata, NetError> {
        let edns = response_edns(request);
        let mut chain = reply.signing.map(Signing::chain);
        let mut metadata = response_metadata(request, ResponseCode::ServFail);
        for mut message in reply.messages {
            metadata = response_metadata(request, message.code);
            metadata.authoritative = message.authoritative;
            if request.protocol() == Protocol::Udp {
                let used_bytes = encode(request, metadata, &message, edns.as_ref())?.len();
                let room_bytes = room_bytes(edns.as_ref(), chain.as_ref());
                if used_bytes > room_bytes {
                    // Half an answer could be taken for the whole: let the client ask by TCP.
                    message = Answer::code(message.code);
                    metadata.truncation = true;
                }
            }
            let signature = match &mut chain {
                Some(chain) => {
                    Some(chain.sign(&encode(request, metadata, &message, edns.as_ref())?)?)
                }
                None => None,
            };
            let mut response = MessageResponseBuilder::new(&request.queries, edns.as_ref()).build(
                metadata,
                &message.answers,
                &message.authority,
                &[],
                &message.additional,
            );
            if let Some(signature) = signature {
                response.set_signature(signature);
            }
            responses.send_response(response).await?;
        }
        Ok(metadata)
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        responses: R,
    ) -> ResponseInfo {
        let reply = self.decide(request, T::current_time());
        let metadata = self.send(request, reply, responses).await.unwrap_or_else(|error| {
            debug!(%error, source = %request.src(), "cannot answer a DNS query");
            response_metadata(request, ResponseCode::ServFail)
        });
        self.zone.counters().count(metadata.response_code);
        ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() })
    }
}

fn response_metadata(request: &Request, code: ResponseCode) -> Metadata {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.response_code = code;
    metadata
}

/// The response's own EDNS record, if the request had one; its size is what we may send.
fn response_edns(request: &Request) -> Option<Edns> {
    let asked = request.edns.as_ref()?;
    let mut edns = Edns::new();
    edns.set_max_payload(asked.max_payload().clamp(UDP_MIN_BYTES, UDP_MAX_BYTES));
    edns.set_dnssec_ok(asked.flags().dnssec_ok);
    Some(edns)
}

/// What a UDP response may use, its signature aside.
fn room_bytes(edns: Option<&Edns>, chain: Option<&Chain>) -> usize {
    let whole = edns.map_or(UDP_MIN_BYTES, Edns::max_payload);
    usize::from(whole).saturating_sub(chain.map_or(0, Chain::size_bytes))
}

/// The message as it is before it is signed, whatever its size.
fn encode(
    request: &Request,
    metadata: Metadata,
    message: &Answer,
    edns: Option<&Edns>,
) -> Result<Vec<u8>, ProtoError> {
    let mut bytes = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(u16::MAX);
    MessageResponseBuilder::new(&request.queries, edns)
        .build(metadata, &message.answers, &message.authority, &[], &message.additional)
        .destructive_emit(&mut encoder)?;
    Ok(bytes)
}

/// A signature as it goes into a message.
pub(super) type Signature = Box<Record<TSIG>>;
