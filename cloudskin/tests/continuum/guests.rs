//! Guests, built once per machine, and modules made by hand.

use crate::world::{self, Continuum};
use sha2::{Digest, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The service whose whole state is a number.
pub(crate) fn ledger() -> Option<PathBuf> {
    migratable("ledger")
}

/// The guest of this name, built so that it can be moved. `None`, with a line that says so, where
/// the guest toolchain is not installed.
pub(crate) fn migratable(name: &str) -> Option<PathBuf> {
    let cells = Path::new(env!("CARGO_MANIFEST_DIR")).join("../execution/cells");
    let source = cells.join(format!("tests/guests/{name}.c"));
    let mut hash = Sha256::new();
    let header = |name: &str| cells.join("guest/include/cloudskin").join(name);
    for file in [source.clone(), header("record.h"), header("nn.h")] {
        hash.update(fs::read(file).unwrap());
    }
    let key: String = hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    fs::create_dir_all(&folder).unwrap();
    let built = folder.join(format!("continuum-{name}-{key}.wasm"));
    if built.exists() {
        return Some(built);
    }
    let draft = folder.join(format!("draft-{}.wasm", types::random_id()));
    let output = std::process::Command::new(world::program())
        .args(["build", "--migratable", "-o"])
        .arg(&draft)
        .arg(&source)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    if told.contains("missing; install with") {
        eprintln!("skipped: {told}");
        return None;
    }
    assert!(output.status.success(), "{told}");
    fs::rename(&draft, &built).unwrap();
    Some(built)
}

/// A program of this text, built with these flags; `None`, said aloud, where there is no
/// toolchain.
pub(crate) fn parallel(continuum: &Continuum, name: &str, text: &str, flags: &str) -> Option<()> {
    fs::write(continuum.path(&format!("{name}.c")), text).unwrap();
    let built = continuum.run(&format!("build {flags} {name}.c -o {name}.wasm"));
    if built.err.contains("missing; install with") {
        eprintln!("skipped: {}", built.err);
        return None;
    }
    built.ok();
    Some(())
}

/// The module with a memory of so many pages at the start, and no most.
pub(crate) fn with_memory(module: &[u8], pages: u32) -> Vec<u8> {
    let (mut patched, mut rest) = (module[..8].to_vec(), &module[8..]);
    while let [id, after @ ..] = rest {
        let (size, content) = read_leb(after);
        let (content, following) = content.split_at(size as usize);
        match id {
            5 => section(&mut patched, 5, &[vec![1, 0], leb(pages)].concat()),
            _ => section(&mut patched, *id, content),
        }
        rest = following;
    }
    patched
}

fn read_leb(bytes: &[u8]) -> (u32, &[u8]) {
    let size = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let number = bytes[..size].iter().rev().fold(0, |sum, byte| sum << 7 | u32::from(byte & 0x7f));
    (number, &bytes[size..])
}

/// A module whose single function `_start` has these instructions, which end it.
pub(crate) fn module(pages: u32, body: &[u8]) -> Vec<u8> {
    functions(pages, 1, body)
}

/// The same with `count` functions of the same body, the first of which is `_start`.
pub(crate) fn functions(pages: u32, count: u32, body: &[u8]) -> Vec<u8> {
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    section(&mut module, 1, &[1, 0x60, 0, 0]);
    let types = [leb(count), vec![0; count as usize]].concat();
    section(&mut module, 3, &types);
    section(&mut module, 5, &[vec![1, 0], leb(pages)].concat());
    let exports = [&[2, 6][..], b"_start", &[0, 0, 6], b"memory", &[2, 0]].concat();
    section(&mut module, 7, &exports);
    // No locals.
    let function = [leb(body.len() as u32 + 1), vec![0], body.to_vec()].concat();
    let code = [leb(count), function.repeat(count as usize)].concat();
    section(&mut module, 10, &code);
    module
}

fn section(module: &mut Vec<u8>, id: u8, content: &[u8]) {
    module.push(id);
    module.extend(leb(content.len() as u32));
    module.extend(content);
}

fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
