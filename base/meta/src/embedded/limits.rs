//! What a request may hold, checked before it queues.

use crate::{Compare, Config, Error, Op, Result, Txn, error::show};
use std::collections::HashSet;

pub(super) fn check_key(config: &Config, key: &[u8]) -> Result<()> {
    if key.is_empty() {
        return Err(Error::EmptyKey);
    }
    let limit_bytes = config.key_max_bytes;
    if key.len() > limit_bytes {
        return Err(Error::KeyTooLong { size_bytes: key.len(), limit_bytes });
    }
    Ok(())
}

pub(super) fn check_txn(config: &Config, txn: &Txn) -> Result<()> {
    let limit = config.txn_max_ops;
    let lists = [
        ("compares", txn.compares.len()),
        ("steps in `then`", txn.then.len()),
        ("steps in `otherwise`", txn.otherwise.len()),
    ];
    if let Some((what, count)) = lists.into_iter().find(|(_, count)| *count > limit) {
        return Err(Error::TooManyOps { what, count, limit });
    }
    let mut size_bytes = 0;
    for compare in &txn.compares {
        size_bytes += check_compare(config, compare)?;
    }
    for branch in [&txn.then, &txn.otherwise] {
        size_bytes += check_branch(config, branch)?;
    }
    let limit_bytes = config.txn_max_bytes;
    if size_bytes > limit_bytes {
        return Err(Error::TxnTooLarge { size_bytes, limit_bytes });
    }
    Ok(())
}

fn check_compare(config: &Config, compare: &Compare) -> Result<usize> {
    let (key, value) = match compare {
        Compare::Exists(key) | Compare::Absent(key) | Compare::ModRevision(key, _) => (key, 0),
        Compare::Value(key, value) => (key, value.len()),
        Compare::LeaseHeld(..) => return Ok(0),
    };
    check_key(config, key)?;
    Ok(key.len() + value)
}

fn check_branch(config: &Config, ops: &[Op]) -> Result<usize> {
    let mut changed = HashSet::new();
    let mut size_bytes = 0;
    for op in ops {
        let (key, value, changes) = match op {
            Op::Get(key) => (key, 0, false),
            Op::Put { key, value, .. } => (key, value.len(), true),
            Op::Delete(key) => (key, 0, true),
        };
        check_key(config, key)?;
        let limit_bytes = config.value_max_bytes;
        if value > limit_bytes {
            return Err(Error::ValueTooLarge { key: show(key), size_bytes: value, limit_bytes });
        }
        if changes && !changed.insert(key) {
            return Err(Error::DuplicateKey { key: show(key) });
        }
        size_bytes += key.len() + value;
    }
    Ok(size_bytes)
}
