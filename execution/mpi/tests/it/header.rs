//! The header and the engine name the same functions, with the same arguments.

use mpi::FUNCTIONS;
use std::collections::BTreeMap;

/// The prototypes of the header: names and how many arguments each has.
fn prototypes() -> BTreeMap<String, usize> {
    let header = include_str!("../../include/mpi.h");
    let declarations = header.split(';').filter_map(|text| {
        let text = text.rsplit("*/").next().unwrap_or(text).trim();
        let code: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let code = code.join(" ");
        let code = code.trim();
        let (_, code) = code.strip_prefix("MPI_IMPORT_(")?.split_once(") ")?;
        let rest = code.strip_prefix("int MPI_").or_else(|| code.strip_prefix("double MPI_"))?;
        let (name, arguments) = rest.split_once('(')?;
        let arguments = arguments.trim_end_matches(')').trim();
        let count = if arguments == "void" { 0 } else { arguments.split(',').count() };
        Some((format!("MPI_{name}"), count))
    });
    declarations.collect()
}

#[test]
fn every_function_is_declared_and_nothing_else() {
    let declared: Vec<String> = prototypes().into_keys().collect();
    let mut known: Vec<&str> = FUNCTIONS.to_vec();
    known.sort_unstable();

    assert_eq!(declared, known);
}

macro_rules! arities {
    ($($name:literal $method:ident($($argument:ident: $type:ty),*);)*) => {
        [$(($name, <[&str]>::len(&[$(stringify!($argument)),*]))),*]
    };
}

#[test]
fn every_function_has_the_arguments_that_the_header_gives_it() {
    let declared = prototypes();
    // (What follows an ellipsis is one pointer in wasm32.)
    for (name, arguments) in mpi::functions!(arities) {
        assert_eq!(declared[name], arguments, "{name}");
    }
}

#[test]
fn the_header_gives_the_numbers_that_tests_use() {
    let header = include_str!("../../include/mpi.h");
    let value = |name: &str| {
        let line = header.lines().find(|line| line.split_whitespace().nth(1) == Some(name));
        let text = line.and_then(|line| line.split_whitespace().last()).unwrap_or_default();
        let digits = text.rsplit(')').find(|part| !part.is_empty()).unwrap_or_default();
        digits.trim_start_matches('(').parse::<i32>().unwrap_or(i32::MIN)
    };
    use crate::guest::*;
    assert_eq!(value("MPI_COMM_WORLD"), WORLD);
    assert_eq!(value("MPI_COMM_SELF"), SELF);
    assert_eq!([value("MPI_BYTE"), value("MPI_INT"), value("MPI_DOUBLE")], [BYTE, INT, DOUBLE]);
    assert_eq!([value("MPI_SUM"), value("MPI_ERRORS_RETURN")], [SUM, ERRORS_RETURN]);
    assert_eq!([value("MPI_PROC_NULL"), value("MPI_ANY_TAG")], [PROC_NULL, ANY]);
    assert_eq!(value("MPI_UNDEFINED"), UNDEFINED);
}
