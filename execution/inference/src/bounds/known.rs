//! What is known of a tensor before anything is computed.

use super::shapes::{Shape, volume};
use crate::message::TensorProto;

/// Numbers that are remembered of one tensor: shapes and the like.
const FEW_MAX: usize = 16;

/// A tensor of the graph.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) shape: Shape,
    /// Bytes of each number.
    pub(super) each_bytes: u64,
    /// It follows from constants alone.
    pub(super) fixed: bool,
    /// What it holds, if these are a few numbers of the file.
    pub(super) few: Option<Few>,
}

/// A few numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Few {
    Whole(Vec<i64>),
    Real(Vec<f32>),
}

impl Known {
    pub(super) fn input(shape: Shape, each_bytes: u64) -> Self {
        Self { shape, each_bytes, fixed: false, few: None }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        volume(&self.shape).saturating_mul(self.each_bytes)
    }

    pub(super) fn whole(&self) -> Option<&[i64]> {
        match &self.few {
            Some(Few::Whole(all)) => Some(all),
            _ => None,
        }
    }

    pub(super) fn real(&self) -> Option<&[f32]> {
        match &self.few {
            Some(Few::Real(all)) => Some(all),
            _ => None,
        }
    }
}

impl Few {
    /// So many whole numbers, if they are few.
    pub(super) fn whole(all: Vec<i64>) -> Option<Self> {
        (all.len() <= FEW_MAX).then_some(Self::Whole(all))
    }

    pub(super) fn of(tensor: &TensorProto) -> Option<Self> {
        let bytes = &tensor.raw_data;
        match tensor.data_type {
            7 if bytes.len() / 8 + tensor.int64_data.len() <= FEW_MAX => {
                let raw = bytes.as_chunks::<8>().0.iter().map(|it| i64::from_le_bytes(*it));
                Some(Self::Whole(tensor.int64_data.iter().copied().chain(raw).collect()))
            }
            1 if bytes.len() / 4 + tensor.float_data.len() <= FEW_MAX => {
                let raw = bytes.as_chunks::<4>().0.iter().map(|it| f32::from_le_bytes(*it));
                Some(Self::Real(tensor.float_data.iter().copied().chain(raw).collect()))
            }
            _ => None,
        }
    }
}

/// How many numbers a constant holds, and the bytes of each; nothing for what is not numbers.
pub(super) fn held(tensor: &TensorProto) -> Option<(u64, u64)> {
    let (size, listed) = match tensor.data_type {
        1 => (4, tensor.float_data.len()),
        11 => (8, tensor.double_data.len()),
        // Those of a byte are listed as larger ones.
        2 | 3 | 9 => (1, tensor.int32_data.len()),
        6 => (4, tensor.int32_data.len()),
        7 => (8, tensor.int64_data.len()),
        _ => return None,
    };
    let numbers = match tensor.raw_data.len() {
        0 => listed,
        bytes if listed == 0 && bytes % size == 0 => bytes / size,
        _ => return None,
    };
    Some((numbers as u64, size as u64))
}
