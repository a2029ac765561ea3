//! The globals of an instance that a snapshot carries.

use crate::{
    error::{Error, Result},
    program::Program,
    snapshot::{GlobalValue, SnapshotError},
};
use wasmtime::{Instance, Store, Val};

/// Reads them, in the order in which the module exports them.
pub(crate) fn read<T>(
    program: &Program,
    instance: &Instance,
    store: &mut Store<T>,
) -> Result<Vec<(String, GlobalValue)>> {
    let mut values = Vec::new();
    for name in &program.facts().globals {
        let Some(global) = instance.get_global(&mut *store, name) else { continue };
        let value = match global.get(&mut *store) {
            Val::I32(value) => GlobalValue::I32(value),
            Val::I64(value) => GlobalValue::I64(value),
            Val::F32(bits) => GlobalValue::F32(bits),
            Val::F64(bits) => GlobalValue::F64(bits),
            Val::V128(value) => GlobalValue::V128(value.as_u128()),
            other => {
                return Err(Error::NotMigratable {
                    module: program.name().to_owned(),
                    reason: format!("its global `{name}` holds a {:?}", other.ty(&*store)),
                });
            }
        };
        values.push((name.clone(), value));
    }
    Ok(values)
}

/// Sets them to what a snapshot says.
pub(crate) fn write<T>(
    program: &Program,
    instance: &Instance,
    store: &mut Store<T>,
    values: &[(String, GlobalValue)],
) -> Result<(), SnapshotError> {
    let malformed = |reason: String| SnapshotError::Malformed { section: "globals", reason };
    if !values.iter().map(|(name, _)| name).eq(&program.facts().globals) {
        return Err(malformed("they are not those of the module".into()));
    }
    for (name, value) in values {
        let value = match value {
            GlobalValue::I32(value) => Val::I32(*value),
            GlobalValue::I64(value) => Val::I64(*value),
            GlobalValue::F32(bits) => Val::F32(*bits),
            GlobalValue::F64(bits) => Val::F64(*bits),
            GlobalValue::V128(value) => Val::V128((*value).into()),
        };
        instance
            .get_global(&mut *store, name)
            .and_then(|global| global.set(&mut *store, value).ok())
            .ok_or_else(|| malformed(format!("`{name}` has another type")))?;
    }
    Ok(())
}
