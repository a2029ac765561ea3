//! The predefined reductions, on rows of bytes.

use crate::{
    abi,
    basic::Kind,
    error::{Result, fault},
};

/// A predefined operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builtin {
    Max,
    Min,
    Sum,
    Prod,
    Land,
    Band,
    Lor,
    Bor,
    Lxor,
    Bxor,
    Minloc,
    Maxloc,
    Replace,
    NoOp,
}

const BUILTINS: [(Builtin, &str); 14] = [
    (Builtin::Max, "MPI_MAX"),
    (Builtin::Min, "MPI_MIN"),
    (Builtin::Sum, "MPI_SUM"),
    (Builtin::Prod, "MPI_PROD"),
    (Builtin::Land, "MPI_LAND"),
    (Builtin::Band, "MPI_BAND"),
    (Builtin::Lor, "MPI_LOR"),
    (Builtin::Bor, "MPI_BOR"),
    (Builtin::Lxor, "MPI_LXOR"),
    (Builtin::Bxor, "MPI_BXOR"),
    (Builtin::Minloc, "MPI_MINLOC"),
    (Builtin::Maxloc, "MPI_MAXLOC"),
    (Builtin::Replace, "MPI_REPLACE"),
    (Builtin::NoOp, "MPI_NO_OP"),
];

impl Builtin {
    pub(crate) fn of(handle: i32) -> Option<Self> {
        let index = usize::try_from(handle.checked_sub(1)?).ok()?;
        BUILTINS.get(index).map(|(builtin, _)| *builtin)
    }

    fn name(self) -> &'static str {
        BUILTINS
            .iter()
            .find(|(builtin, _)| *builtin == self)
            .map_or("MPI_OP_NULL", |(_, name)| name)
    }
}

/// Where the index of a pair stands in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As in memory, with padding.
    Natural,
    /// As in a message, without.
    Packed,
}

impl Layout {
    /// Bytes from one element to the next.
    pub(crate) fn stride(self, kind: Kind) -> usize {
        match self {
            Self::Natural => kind.extent(),
            Self::Packed => kind.size(),
        }
    }
}

/// Gives elements that lie as in a message their places in memory; as many as fit into `natural`.
pub(crate) fn spread(kind: Kind, packed: &[u8], natural: &mut [u8]) {
    let Some((value, index)) = kind.pair().filter(|_| kind.size() != kind.extent()) else {
        return natural.copy_from_slice(packed);
    };
    let packed = packed.chunks_exact(kind.size());
    for (row, element) in packed.zip(natural.chunks_exact_mut(kind.extent())) {
        let (first, second) = row.split_at(value.size());
        element[..first.len()].copy_from_slice(first);
        element[index..index + second.len()].copy_from_slice(second);
    }
}

fn rows<const N: usize>(left: &mut [u8], right: &[u8], each: impl Fn([u8; N], [u8; N]) -> [u8; N]) {
    let (left, _) = left.as_chunks_mut::<N>();
    let (right, _) = right.as_chunks::<N>();
    for (left, right) in left.iter_mut().zip(right) {
        *left = each(*left, *right);
    }
}

macro_rules! on {
    ($type:ty, $left:expr, $right:expr, $each:expr) => {{
        const BYTES: usize = size_of::<$type>();
        let each: fn($type, $type) -> $type = $each;
        rows::<BYTES>($left, $right, |left, right| {
            each(<$type>::from_le_bytes(left), <$type>::from_le_bytes(right)).to_le_bytes()
        });
        true
    }};
}

macro_rules! integer {
    ($type:ty, $builtin:expr, $left:expr, $right:expr) => {
        match $builtin {
            Builtin::Max => on!($type, $left, $right, |a, b| a.max(b)),
            Builtin::Min => on!($type, $left, $right, |a, b| a.min(b)),
            Builtin::Sum => on!($type, $left, $right, |a, b| a.wrapping_add(b)),
            Builtin::Prod => on!($type, $left, $right, |a, b| a.wrapping_mul(b)),
            Builtin::Land => on!($type, $left, $right, |a, b| <$type>::from(a != 0 && b != 0)),
            Builtin::Lor => on!($type, $left, $right, |a, b| <$type>::from(a != 0 || b != 0)),
            Builtin::Lxor => on!($type, $left, $right, |a, b| <$type>::from((a != 0) != (b != 0))),
            Builtin::Band => on!($type, $left, $right, |a, b| a & b),
            Builtin::Bor => on!($type, $left, $right, |a, b| a | b),
            Builtin::Bxor => on!($type, $left, $right, |a, b| a ^ b),
            _ => false,
        }
    };
}

macro_rules! real {
    ($type:ty, $builtin:expr, $left:expr, $right:expr) => {
        match $builtin {
            Builtin::Max => on!($type, $left, $right, |a, b| if b > a { b } else { a }),
            Builtin::Min => on!($type, $left, $right, |a, b| if b < a { b } else { a }),
            Builtin::Sum => on!($type, $left, $right, |a, b| a + b),
            Builtin::Prod => on!($type, $left, $right, |a, b| a * b),
            _ => false,
        }
    };
}

macro_rules! complex {
    ($type:ty, $builtin:expr, $left:expr, $right:expr) => {{
        const HALF: usize = size_of::<$type>();
        let each: fn([$type; 2], [$type; 2]) -> [$type; 2] = match $builtin {
            Builtin::Sum => |[a, b], [c, d]| [a + c, b + d],
            Builtin::Prod => |[a, b], [c, d]| [a * c - b * d, a * d + b * c],
            _ => return false,
        };
        rows::<{ 2 * HALF }>($left, $right, |left, right| {
            let parts = |row: [u8; 2 * HALF]| {
                let (halves, _) = row.as_chunks::<HALF>();
                [<$type>::from_le_bytes(halves[0]), <$type>::from_le_bytes(halves[1])]
            };
            let [real, imaginary] = each(parts(left), parts(right));
            let mut row = [0; 2 * HALF];
            row[..HALF].copy_from_slice(&real.to_le_bytes());
            row[HALF..].copy_from_slice(&imaginary.to_le_bytes());
            row
        });
        true
    }};
}

/// An order of binary128 numbers: that of the integers made from sign and magnitude.
fn quad(bytes: [u8; 16]) -> i128 {
    let bits = i128::from_le_bytes(bytes);
    if bits < 0 { -(bits & i128::MAX) } else { bits }
}

/// How two values of a pair compare.
fn compare(kind: Kind, left: &[u8], right: &[u8]) -> Option<std::cmp::Ordering> {
    macro_rules! of {
        ($type:ty) => {{
            let (left, right) = (left.first_chunk()?, right.first_chunk()?);
            <$type>::from_le_bytes(*left).partial_cmp(&<$type>::from_le_bytes(*right))
        }};
    }
    match kind {
        Kind::F32 => of!(f32),
        Kind::F64 => of!(f64),
        Kind::I16 => of!(i16),
        Kind::I32 => of!(i32),
        Kind::F128 => quad(*left.first_chunk()?).partial_cmp(&quad(*right.first_chunk()?)),
        _ => None,
    }
}

fn pairs(builtin: Builtin, kind: Kind, layout: Layout, left: &mut [u8], right: &[u8]) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let Some((value, natural)) = kind.pair() else { return false };
    let index = if layout == Layout::Natural { natural } else { value.size() };
    let better = match builtin {
        Builtin::Minloc => Less,
        Builtin::Maxloc => Greater,
        _ => return false,
    };
    let stride = layout.stride(kind);
    for (left, right) in left.chunks_exact_mut(stride).zip(right.chunks_exact(stride)) {
        let number =
            |row: &[u8]| row[index..].first_chunk().map(|bytes| i32::from_le_bytes(*bytes));
        match compare(value, right, left) {
            Some(order) if order == better => left.copy_from_slice(right),
            Some(Equal) if number(right) < number(left) => left.copy_from_slice(right),
            _ => {}
        }
    }
    true
}

fn apply(builtin: Builtin, kind: Kind, layout: Layout, left: &mut [u8], right: &[u8]) -> bool {
    match builtin {
        Builtin::Replace => {
            left.copy_from_slice(right);
            return true;
        }
        Builtin::NoOp => return true,
        _ => {}
    }
    match kind {
        Kind::I8 => integer!(i8, builtin, left, right),
        Kind::U8 => integer!(u8, builtin, left, right),
        Kind::I16 => integer!(i16, builtin, left, right),
        Kind::U16 => integer!(u16, builtin, left, right),
        Kind::I32 => integer!(i32, builtin, left, right),
        Kind::U32 => integer!(u32, builtin, left, right),
        Kind::I64 => integer!(i64, builtin, left, right),
        Kind::U64 => integer!(u64, builtin, left, right),
        Kind::F32 => real!(f32, builtin, left, right),
        Kind::F64 => real!(f64, builtin, left, right),
        Kind::C32 => complex!(f32, builtin, left, right),
        Kind::C64 => complex!(f64, builtin, left, right),
        Kind::F128 => long_double(builtin, left, right),
        Kind::Bool => match builtin {
            Builtin::Land | Builtin::Lor | Builtin::Lxor => integer!(u8, builtin, left, right),
            _ => false,
        },
        Kind::Byte => match builtin {
            Builtin::Band | Builtin::Bor | Builtin::Bxor => integer!(u8, builtin, left, right),
            _ => false,
        },
        Kind::C128 | Kind::Packed => false,
        _ => pairs(builtin, kind, layout, left, right),
    }
}

fn long_double(builtin: Builtin, left: &mut [u8], right: &[u8]) -> bool {
    let each: fn([u8; 16], [u8; 16]) -> [u8; 16] = match builtin {
        Builtin::Max => |a, b| if quad(b) > quad(a) { b } else { a },
        Builtin::Min => |a, b| if quad(b) < quad(a) { b } else { a },
        _ => return false,
    };
    rows::<16>(left, right, each);
    true
}

/// Fails unless an operation is defined for a kind.
pub(crate) fn legal(builtin: Builtin, kind: Kind) -> Result {
    combine(builtin, kind, Layout::Natural, &mut [], &[])
}

/// `left = left op right`, element by element. The order of the two matters to no predefined
/// operation but for rounding, so it is always this one.
pub(crate) fn combine(
    builtin: Builtin,
    kind: Kind,
    layout: Layout,
    left: &mut [u8],
    right: &[u8],
) -> Result {
    let len = left.len().min(right.len());
    match apply(builtin, kind, layout, &mut left[..len], &right[..len]) {
        true => Ok(()),
        false => {
            let text = format!("{} is not defined for elements of kind {kind:?}", builtin.name());
            Err(fault(abi::ERR_OP, text))
        }
    }
}

/// An operation that the program made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UserOp {
    /// The guest's function.
    pub(crate) function: u32,
    pub(crate) commutes: bool,
}

crate::image::wire_enum!(Builtin {
    0 => Max,
    1 => Min,
    2 => Sum,
    3 => Prod,
    4 => Land,
    5 => Band,
    6 => Lor,
    7 => Bor,
    8 => Lxor,
    9 => Bxor,
    10 => Minloc,
    11 => Maxloc,
    12 => Replace,
    13 => NoOp,
});
crate::image::wire_struct!(UserOp { function, commutes });
