//! Who this node is to others, and how two nodes that have a token in common show each other that they do.
//!
//! The token itself is never sent: whoever listens at a place that another node has left would have it. Both sides send
//! a number that is used once, and prove by HMAC-SHA256 (RFC 2104) under the token that they have it. What is proved names
//! both sites, both numbers, the side, and the address that was dialled: a proof is of no use at another place.

use super::{
    lane::unexpected,
    message::{Answer, Request},
    tls::Identity,
};
use crate::{Error, Result};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::net::SocketAddr;
use types::{Token, random_id};

/// Who this node is to others.
#[derive(Debug, Clone)]
pub(super) struct Own {
    pub(super) site: String,
    /// None: without TLS, on loopback alone.
    pub(super) identity: Option<Identity>,
    /// Without TLS: what both sides must have.
    pub(super) token: Option<Token>,
}

impl Own {
    /// Says who this node is to the one at `to`, which `ask` asks; gives who that is, and the run of its node.
    pub(super) fn introduce(
        &self,
        to: SocketAddr,
        mut ask: impl FnMut(&Request) -> Result<Answer>,
    ) -> Result<(String, u64)> {
        let site = self.site.clone();
        let Some(token) = &self.token else {
            return welcomed(ask(&Request::Hello { site })?);
        };
        let own = once();
        let (site, other, proof) = match ask(&Request::Challenge { site, nonce: own.clone() })? {
            Answer::Challenge { site, nonce, proof } => (site, nonce, proof),
            Answer::Refused(refusal) => return Err(refusal.into()),
            // A welcome without a proof is a stranger's.
            _ => return Err(unexpected()),
        };
        let talk = Talk { token, asks: &self.site, answers: &site, at: to, nonces: [&own, &other] };
        if !talk.is_proof(ANSWERS, &proof) {
            let why = format!("what answers at {to} does not have the token of these sites");
            return Err(Error::Denied(why));
        }
        let welcome = welcomed(ask(&Request::Prove { proof: talk.proof(ASKS) })?)?;
        // The name that was proved, and not another one.
        if welcome.0 == site { Ok(welcome) } else { Err(unexpected()) }
    }

    /// The name of who comes to `at` and says `hello`, if it has shown what it must. `ask` answers, and gives what is said
    /// then.
    pub(super) fn meet(
        &self,
        hello: Request,
        at: SocketAddr,
        ask: impl FnOnce(&Answer) -> Result<Request>,
    ) -> Result<Option<String>> {
        let (site, other, token) = match (hello, &self.token) {
            (Request::Hello { site }, None) => return Ok(Some(site)),
            (Request::Challenge { site, nonce }, Some(token)) => (site, nonce, token),
            _ => return Ok(None),
        };
        let own = once();
        let talk = Talk { token, asks: &site, answers: &self.site, at, nonces: [&other, &own] };
        let proof = talk.proof(ANSWERS);
        let challenge = Answer::Challenge { site: self.site.clone(), nonce: own.clone(), proof };
        let is_proved = match ask(&challenge)? {
            Request::Prove { proof } => talk.is_proof(ASKS, &proof),
            _ => false,
        };
        Ok(is_proved.then_some(site))
    }
}

fn welcomed(answer: Answer) -> Result<(String, u64)> {
    match answer {
        Answer::Welcome { site, run } => Ok((site, run)),
        Answer::Refused(refusal) => Err(refusal.into()),
        _ => Err(unexpected()),
    }
}

/// A number that is used once: 256 random bits.
fn once() -> String {
    random_id() + &random_id()
}

/// The side that was dialled, and the one that dialled.
const ANSWERS: &str = "answers";
const ASKS: &str = "asks";

/// What is proved.
struct Talk<'a> {
    token: &'a Token,
    asks: &'a str,
    answers: &'a str,
    at: SocketAddr,
    /// Of who asks, and of who answers.
    nonces: [&'a str; 2],
}

impl Talk<'_> {
    fn mac(&self, side: &str) -> Option<Hmac<Sha256>> {
        let secret = Some(self.token.reveal()).filter(|secret| !secret.is_empty())?;
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
        let at = self.at.to_string();
        let [asked, answered] = self.nonces;
        for text in ["cloudskin-geds-sites", side, self.asks, self.answers, &at, asked, answered] {
            mac.update(&(text.len() as u64).to_le_bytes());
            mac.update(text.as_bytes());
        }
        Some(mac)
    }

    /// An empty token proves nothing.
    fn proof(&self, side: &str) -> Vec<u8> {
        self.mac(side).map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default()
    }

    /// In a time that does not tell how much of it was right.
    fn is_proof(&self, side: &str, proof: &[u8]) -> bool {
        self.mac(side).is_some_and(|mac| mac.verify_slice(proof).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc::channel, thread};

    fn own(site: &str, token: &str) -> Own {
        let token = Some(Token::from_text(token));
        Own { site: site.to_owned(), identity: None, token }
    }

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// Has `edge` introduce itself where it believes `cloud` to be; whom each of them then knows.
    fn meet(edge: &Own, cloud: &Own, dialled: u16, reached: u16) -> [Option<String>; 2] {
        let ((to_cloud, at_cloud), (to_edge, at_edge)) = (channel::<Request>(), channel());
        thread::scope(|scope| {
            let answers = scope.spawn(move || {
                let known = cloud.meet(at_cloud.recv().unwrap(), at(reached), |challenge| {
                    to_edge.send(challenge.clone()).unwrap();
                    at_cloud.recv().map_err(|_| unexpected())
                });
                let known = known.ok().flatten();
                if known.is_some() {
                    let site = cloud.site.clone();
                    to_edge.send(Answer::Welcome { site, run: 1 }).unwrap();
                }
                known
            });
            let introduced = edge.introduce(at(dialled), |request| {
                to_cloud.send(request.clone()).unwrap();
                at_edge.recv().map_err(|_| unexpected())
            });
            drop(to_cloud);
            [introduced.ok().map(|(site, _)| site), answers.join().unwrap()]
        })
    }

    #[test]
    fn two_that_have_a_token_know_each_other_and_no_others() {
        let (edge, cloud) = (own("edge", "secret"), own("cloud", "secret"));
        let both = ["cloud", "edge"].map(|site| Some(site.to_owned()));

        assert_eq!(meet(&edge, &cloud, 1, 1), both);
        assert_eq!(meet(&edge, &own("cloud", "other"), 1, 1), [None, None]);
        assert_eq!(meet(&own("edge", ""), &own("cloud", ""), 1, 1), [None, None]);
        // One in between passes on what is said by the node that is somewhere else now.
        assert_eq!(meet(&edge, &cloud, 1, 2), [None, None]);
    }

    #[test]
    fn the_token_is_not_sent_and_a_proof_is_of_one_side_and_one_meeting() {
        let edge = own("edge", "secret");
        let (mut hello, token) = (String::new(), edge.token.as_ref().unwrap());
        let _ = edge.introduce(at(1), |request| {
            hello = format!("{request:?}");
            Err(unexpected())
        });
        assert!(hello.contains("edge") && !hello.contains("secret"), "{hello}");

        let welcome = || Answer::Welcome { site: "cloud".to_owned(), run: 1 };
        assert!(edge.introduce(at(1), |_| Ok(welcome())).is_err(), "it has proved nothing");

        let talk = |nonces| Talk { token, asks: "edge", answers: "cloud", at: at(1), nonces };
        let proof = talk(["1", "2"]).proof(ASKS);
        assert!(talk(["1", "2"]).is_proof(ASKS, &proof));
        assert!(!talk(["1", "2"]).is_proof(ANSWERS, &proof));
        assert!(!talk(["1", "3"]).is_proof(ASKS, &proof));
    }
}
