//! Numbers in some dimensions.

use crate::{Error, Result};
use tract_onnx::prelude::{DatumType, Tensor as Inner, TractResult, tract_data};

/// What kind of numbers a tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 32-bit floating point.
    F32,
    /// 64-bit floating point.
    F64,
    /// Bytes.
    U8,
    /// 32-bit integers.
    I32,
    /// 64-bit integers.
    I64,
}

impl Kind {
    /// Bytes of one number.
    pub fn size_bytes(self) -> u64 {
        match self {
            Self::U8 => 1,
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }

    /// By its number in ONNX files.
    pub(crate) fn of_file(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::F32,
            2 => Self::U8,
            6 => Self::I32,
            7 => Self::I64,
            11 => Self::F64,
            _ => return None,
        })
    }

    pub(crate) fn datum(self) -> DatumType {
        match self {
            Self::F32 => DatumType::F32,
            Self::F64 => DatumType::F64,
            Self::U8 => DatumType::U8,
            Self::I32 => DatumType::I32,
            Self::I64 => DatumType::I64,
        }
    }

    pub(crate) fn of_datum(datum: DatumType) -> Option<Self> {
        let all = [Self::F32, Self::F64, Self::U8, Self::I32, Self::I64];
        all.into_iter().find(|kind| kind.datum() == datum)
    }
}

/// Numbers, row by row: the last dimension is the one that runs fastest.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    dims: Vec<usize>,
    numbers: Numbers,
}

#[derive(Debug, Clone, PartialEq)]
enum Numbers {
    F32(Vec<f32>),
    F64(Vec<f64>),
    U8(Vec<u8>),
    I32(Vec<i32>),
    I64(Vec<i64>),
}

impl Tensor {
    /// Of little-endian bytes.
    ///
    /// # Errors
    /// [`Error::Failed`] if they are not as many as the dimensions say.
    pub fn from_bytes(kind: Kind, dims: &[usize], bytes: &[u8]) -> Result<Self> {
        let size =
            dims.iter().try_fold(kind.size_bytes() as usize, |all, dim| all.checked_mul(*dim));
        if size != Some(bytes.len()) {
            let text = format!("{} bytes are no tensor of the dimensions {dims:?}", bytes.len());
            return Err(Error::Failed(text));
        }
        let (fours, eights) = (bytes.as_chunks::<4>().0.iter(), bytes.as_chunks::<8>().0.iter());
        let numbers = match kind {
            Kind::F32 => Numbers::F32(fours.map(|it| f32::from_le_bytes(*it)).collect()),
            Kind::F64 => Numbers::F64(eights.map(|it| f64::from_le_bytes(*it)).collect()),
            Kind::U8 => Numbers::U8(bytes.to_vec()),
            Kind::I32 => Numbers::I32(fours.map(|it| i32::from_le_bytes(*it)).collect()),
            Kind::I64 => Numbers::I64(eights.map(|it| i64::from_le_bytes(*it)).collect()),
        };
        Ok(Self { dims: dims.to_vec(), numbers })
    }

    /// One row of numbers, in two dimensions.
    pub fn row(numbers: Vec<f32>) -> Self {
        Self { dims: vec![1, numbers.len()], numbers: Numbers::F32(numbers) }
    }

    /// What kind of numbers it holds.
    pub fn kind(&self) -> Kind {
        match self.numbers {
            Numbers::F32(_) => Kind::F32,
            Numbers::F64(_) => Kind::F64,
            Numbers::U8(_) => Kind::U8,
            Numbers::I32(_) => Kind::I32,
            Numbers::I64(_) => Kind::I64,
        }
    }

    /// How many numbers lie along each dimension.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// As little-endian bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.numbers {
            Numbers::F32(all) => all.iter().flat_map(|it| it.to_le_bytes()).collect(),
            Numbers::F64(all) => all.iter().flat_map(|it| it.to_le_bytes()).collect(),
            Numbers::U8(all) => all.clone(),
            Numbers::I32(all) => all.iter().flat_map(|it| it.to_le_bytes()).collect(),
            Numbers::I64(all) => all.iter().flat_map(|it| it.to_le_bytes()).collect(),
        }
    }

    /// The number, if it is only one.
    pub fn only(&self) -> Option<f64> {
        match &self.numbers {
            Numbers::F32(all) => single(all).map(f64::from),
            Numbers::F64(all) => single(all),
            Numbers::U8(all) => single(all).map(f64::from),
            Numbers::I32(all) => single(all).map(f64::from),
            Numbers::I64(all) => single(all).map(|it| it as f64),
        }
    }

    pub(crate) fn to_inner(&self) -> TractResult<Inner> {
        match &self.numbers {
            Numbers::F32(all) => Inner::from_shape(&self.dims, all),
            Numbers::F64(all) => Inner::from_shape(&self.dims, all),
            Numbers::U8(all) => Inner::from_shape(&self.dims, all),
            Numbers::I32(all) => Inner::from_shape(&self.dims, all),
            Numbers::I64(all) => Inner::from_shape(&self.dims, all),
        }
    }

    /// Nothing if it holds other kinds of numbers.
    pub(crate) fn of_inner(inner: &Inner) -> Option<Self> {
        let dims = inner.shape().to_vec();
        let numbers = match Kind::of_datum(inner.datum_type())? {
            Kind::F32 => Numbers::F32(copied(inner)?),
            Kind::F64 => Numbers::F64(copied(inner)?),
            Kind::U8 => Numbers::U8(copied(inner)?),
            Kind::I32 => Numbers::I32(copied(inner)?),
            Kind::I64 => Numbers::I64(copied(inner)?),
        };
        Some(Self { dims, numbers })
    }
}

fn single<T: Copy>(all: &[T]) -> Option<T> {
    match all {
        [only] => Some(*only),
        _ => None,
    }
}

fn copied<T: tract_data::prelude::Datum + Copy>(inner: &Inner) -> Option<Vec<T>> {
    Some(inner.to_plain_array_view::<T>().ok()?.iter().copied().collect())
}
