//! The predefined datatypes of C, as wasm32 lays them out.

/// What one element is, for reductions and for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
    F128,
    C32,
    C64,
    C128,
    Bool,
    Byte,
    Packed,
    FloatInt,
    DoubleInt,
    LongInt,
    TwoInt,
    ShortInt,
    LongDoubleInt,
}

impl Kind {
    /// Bytes of data in one element, without padding.
    pub(crate) const fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 | Self::Bool | Self::Byte | Self::Packed => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 | Self::C32 => 8,
            Self::F128 | Self::C64 => 16,
            Self::C128 => 32,
            Self::FloatInt | Self::LongInt | Self::TwoInt => 8,
            Self::DoubleInt => 12,
            Self::ShortInt => 6,
            Self::LongDoubleInt => 20,
        }
    }

    /// What an element must be aligned to.
    pub(crate) const fn align(self) -> usize {
        match self {
            Self::C32 | Self::FloatInt | Self::LongInt | Self::TwoInt | Self::ShortInt => 4,
            Self::C64 | Self::DoubleInt => 8,
            Self::C128 | Self::LongDoubleInt => 16,
            other => other.size(),
        }
    }

    /// The two parts of a pair: the value's kind, and where the index stands in memory.
    pub(crate) const fn pair(self) -> Option<(Self, usize)> {
        match self {
            Self::FloatInt => Some((Self::F32, 4)),
            Self::DoubleInt => Some((Self::F64, 8)),
            Self::LongInt | Self::TwoInt => Some((Self::I32, 4)),
            Self::ShortInt => Some((Self::I16, 4)),
            Self::LongDoubleInt => Some((Self::F128, 16)),
            _ => None,
        }
    }

    /// Bytes from one element to the next in an array.
    pub(crate) const fn extent(self) -> usize {
        self.size().next_multiple_of(self.align())
    }
}

/// Names and kinds of the predefined datatypes; the first has handle 1.
pub(crate) const BASICS: [(&str, Kind); 41] = [
    ("MPI_CHAR", Kind::I8),
    ("MPI_SIGNED_CHAR", Kind::I8),
    ("MPI_UNSIGNED_CHAR", Kind::U8),
    ("MPI_BYTE", Kind::Byte),
    ("MPI_WCHAR", Kind::I32),
    ("MPI_SHORT", Kind::I16),
    ("MPI_UNSIGNED_SHORT", Kind::U16),
    ("MPI_INT", Kind::I32),
    ("MPI_UNSIGNED", Kind::U32),
    ("MPI_LONG", Kind::I32),
    ("MPI_UNSIGNED_LONG", Kind::U32),
    ("MPI_LONG_LONG_INT", Kind::I64),
    ("MPI_UNSIGNED_LONG_LONG", Kind::U64),
    ("MPI_FLOAT", Kind::F32),
    ("MPI_DOUBLE", Kind::F64),
    ("MPI_LONG_DOUBLE", Kind::F128),
    ("MPI_C_BOOL", Kind::Bool),
    ("MPI_INT8_T", Kind::I8),
    ("MPI_INT16_T", Kind::I16),
    ("MPI_INT32_T", Kind::I32),
    ("MPI_INT64_T", Kind::I64),
    ("MPI_UINT8_T", Kind::U8),
    ("MPI_UINT16_T", Kind::U16),
    ("MPI_UINT32_T", Kind::U32),
    ("MPI_UINT64_T", Kind::U64),
    ("MPI_AINT", Kind::I32),
    ("MPI_COUNT", Kind::I64),
    ("MPI_OFFSET", Kind::I64),
    ("MPI_C_FLOAT_COMPLEX", Kind::C32),
    ("MPI_C_DOUBLE_COMPLEX", Kind::C64),
    ("MPI_C_LONG_DOUBLE_COMPLEX", Kind::C128),
    ("MPI_PACKED", Kind::Packed),
    ("MPI_FLOAT_INT", Kind::FloatInt),
    ("MPI_DOUBLE_INT", Kind::DoubleInt),
    ("MPI_LONG_INT", Kind::LongInt),
    ("MPI_2INT", Kind::TwoInt),
    ("MPI_SHORT_INT", Kind::ShortInt),
    ("MPI_LONG_DOUBLE_INT", Kind::LongDoubleInt),
    ("MPI_CXX_BOOL", Kind::Bool),
    ("MPI_CXX_FLOAT_COMPLEX", Kind::C32),
    ("MPI_CXX_DOUBLE_COMPLEX", Kind::C64),
];

crate::image::wire_enum!(Kind {
    0 => I8,
    1 => U8,
    2 => I16,
    3 => U16,
    4 => I32,
    5 => U32,
    6 => I64,
    7 => U64,
    8 => F32,
    9 => F64,
    10 => F128,
    11 => C32,
    12 => C64,
    13 => C128,
    14 => Bool,
    15 => Byte,
    16 => Packed,
    17 => FloatInt,
    18 => DoubleInt,
    19 => LongInt,
    20 => TwoInt,
    21 => ShortInt,
    22 => LongDoubleInt,
});
