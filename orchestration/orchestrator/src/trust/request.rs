//! What a site sends to get a certificate: its public key, and the proof that it holds the other
//! half.

use super::{Error, Result};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use serde::{Deserialize, Serialize};

/// A signature under anything else cannot be taken for one of these.
const PURPOSE: &[u8] = b"cloudskin certificate request 1\0";

/// A point of P-256, uncompressed.
const KEY_BYTES: usize = 65;

/// Asks for a certificate for one site: the proof covers name and key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SigningRequest {
    /// For which site.
    pub site: String,
    /// An uncompressed point of P-256 in hexadecimal.
    public_key: String,
    /// ECDSA with SHA-256 over the purpose, the site's name, a zero byte and the public key, in
    /// hexadecimal DER.
    signature: String,
}

/// A key whose holder has shown the other half.
#[derive(Debug, Clone)]
pub(super) struct PublicKey(Vec<u8>);

impl SigningRequest {
    /// The request of whoever holds `key`.
    pub(super) fn new(site: &str, key: &KeyPair) -> Result<Self> {
        let public = key.public_key_raw();
        let signature = key.sign(&message(site, public))?;
        Ok(Self {
            site: site.to_owned(),
            public_key: data_encoding::HEXLOWER.encode(public),
            signature: data_encoding::HEXLOWER.encode(&signature),
        })
    }

    /// The key, if whoever asks holds the other half.
    pub(super) fn proven(&self) -> Result<PublicKey> {
        types::check_name(&self.site).map_err(|_| Error::Request("its site has no valid name"))?;
        let bytes = |text: &str| {
            data_encoding::HEXLOWER
                .decode(text.as_bytes())
                .map_err(|_| Error::Request("it is not written in hexadecimal"))
        };
        let (key, signature) = (bytes(&self.public_key)?, bytes(&self.signature)?);
        if key.len() != KEY_BYTES {
            return Err(Error::Request("its key is not one of P-256"));
        }
        ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_ASN1, &key)
            .verify(&message(&self.site, &key), &signature)
            .map_err(|_| Error::Request("its signature is wrong"))?;
        Ok(PublicKey(key))
    }
}

impl PublicKey {
    /// The public half of this key.
    pub(super) fn of(key: &KeyPair) -> Self {
        Self(key.public_key_raw().to_vec())
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

fn message(site: &str, key: &[u8]) -> Vec<u8> {
    [PURPOSE, site.as_bytes(), b"\0", key].concat()
}
