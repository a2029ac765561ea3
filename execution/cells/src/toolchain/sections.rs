//! Edits a module section by section, leaving the bytes of the others as they are.

use super::InspectError;
use wasmparser::{Parser, Payload};

const HEADER_BYTES: usize = 8;
#[cfg(test)]
const CUSTOM: u8 = 0;

/// The module without the custom sections of this name.
pub(super) fn without_custom(wasm: &[u8], name: &str) -> Result<Vec<u8>, InspectError> {
    let mut kept = wasm.get(..HEADER_BYTES).unwrap_or_default().to_vec();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        if let Payload::CustomSection(section) = &payload
            && section.name() == name
        {
            continue;
        }
        if let Some((id, range)) = payload.as_section() {
            let content = wasm.get(range).unwrap_or_default();
            push_section(&mut kept, id, content);
        }
    }
    Ok(kept)
}

/// Adds a custom section.
#[cfg(test)]
pub(super) fn push_custom(wasm: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut section = Vec::new();
    push_leb128(&mut section, name.len());
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(content);
    push_section(wasm, CUSTOM, &section);
}

/// Adds a section with this content.
pub(crate) fn push_section(wasm: &mut Vec<u8>, id: u8, content: &[u8]) {
    wasm.push(id);
    push_leb128(wasm, content.len());
    wasm.extend_from_slice(content);
}

/// Adds a number in seven bits a byte.
pub(crate) fn push_leb128(bytes: &mut Vec<u8>, mut value: usize) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_the_named_custom_section_and_nothing_else() {
        let mut plain = b"\0asm\x01\0\0\0".to_vec();
        push_custom(&mut plain, "name", &[7; 300]);
        let mut both = plain.clone();
        push_custom(&mut both, "target_features", b"+new");

        assert_eq!(without_custom(&both, "target_features").unwrap(), plain);
    }
}
