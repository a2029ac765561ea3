//! The dashboard of `web/`: one page that reads REST with the token in its address' fragment, which
//! browsers keep to themselves.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

const STYLE: &str = include_str!(concat!(env!("OUT_DIR"), "/dashboard.css"));
const SCRIPT: &str = include_str!(concat!(env!("OUT_DIR"), "/dashboard.js"));
const BODY: &str = include_str!("dashboard.html");

/// What a binary says that was built before the dashboard was.
const WITHOUT: &str = "This binary was built without the dashboard: run <code>make web</code>, which needs Node.js 20.19 or newer, and build again. <code>cloudskin get</code> and <code>cloudskin describe</code> show the same.";

/// The page, and the policy under which a browser runs this script and this style and no other.
static PAGE: LazyLock<(String, String)> = LazyLock::new(|| {
    let without = if SCRIPT.is_empty() { WITHOUT } else { "" };
    let page = BODY.replace("/*without*/", without);
    let page = page.replace("/*style*/", STYLE).replace("/*script*/", SCRIPT);
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        base64(&Sha256::digest(SCRIPT)),
        base64(&Sha256::digest(STYLE)),
    );
    (page, policy)
});

pub(super) async fn page() -> Response {
    let (page, policy) = &*PAGE;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy.as_str()),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, page.as_str()).into_response()
}

/// Base64 with padding, as policies write hashes.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for piece in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..piece.len()].copy_from_slice(piece);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            let filled = digit <= piece.len();
            text.push(if filled { char::from(DIGITS[index as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_as_rfc_4648_has_it() {
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (plain, encoded) in pairs {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn the_page_is_whole_and_a_browser_runs_nothing_else() {
        let (page, policy) = &*PAGE;

        assert!(page.contains(SCRIPT) && page.contains(STYLE));
        // Else the script would end in the middle.
        assert!(!SCRIPT.contains("</script") && !STYLE.contains("</style"));
        assert_eq!(page.matches("<script").count(), 1);
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}
