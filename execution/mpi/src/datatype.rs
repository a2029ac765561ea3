//! Datatypes: where the bytes of a message lie in memory, and what they are.

use crate::{
    abi,
    basic::Kind,
    error::{Result, ensure, fault},
};
use std::sync::Arc;

/// The most runs that one type may be made of.
const RUNS_MAX: usize = 1 << 22;
/// How deep types may be nested: some of what is done with them calls itself for each.
const DEPTH_MAX: u32 = 512;
/// Beyond this no address of a 32-bit memory can lie.
const SPAN_MAX: i64 = 1 << 33;

/// `repeat` blocks of `len` bytes, `stride` bytes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) offset: i64,
    pub(crate) len: u64,
    pub(crate) stride: i64,
    pub(crate) repeat: u64,
}

/// The elements of a type in their order, for counting what arrived.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signature {
    items: Vec<(u64, Atom)>,
    pub(crate) bytes: u64,
    pub(crate) elements: u64,
}

#[derive(Debug, Clone)]
enum Atom {
    Basic(Kind),
    Nested(Arc<Type>),
}

impl Signature {
    fn push(&mut self, times: u64, old: &Arc<Type>) {
        self.bytes += times * old.size;
        self.elements += times * old.signature.elements;
        let atom = match old.kind {
            Some(kind) if old.size > 0 => (old.signature.elements * times, Atom::Basic(kind)),
            _ => (times, Atom::Nested(Arc::clone(old))),
        };
        match (self.items.last_mut(), &atom) {
            (Some((count, Atom::Basic(last))), (more, Atom::Basic(kind))) if last == kind => {
                *count += more;
            }
            (Some((count, Atom::Nested(last))), (more, Atom::Nested(new)))
                if Arc::ptr_eq(last, new) =>
            {
                *count += more;
            }
            _ => self.items.push(atom),
        }
    }

    /// How many whole elements the first `bytes` bytes hold; none if they end within one.
    pub(crate) fn elements_in(&self, mut bytes: u64) -> Option<u64> {
        let mut elements = 0;
        for (count, atom) in &self.items {
            let (size, each) = match atom {
                Atom::Basic(kind) => (kind.size() as u64, 1),
                Atom::Nested(ty) => (ty.size, ty.signature.elements),
            };
            if size == 0 {
                continue;
            }
            let whole = (*count).min(bytes / size);
            elements += whole * each;
            bytes -= whole * size;
            if whole < *count {
                return match (bytes, atom) {
                    (0, _) => Some(elements),
                    (_, Atom::Basic(_)) => None,
                    (_, Atom::Nested(ty)) => Some(elements + ty.signature.elements_in(bytes)?),
                };
            }
        }
        (bytes == 0).then_some(elements)
    }
}

/// How a type was made, for `MPI_Type_get_contents`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recipe {
    pub(crate) combiner: i32,
    pub(crate) ints: Vec<i32>,
    pub(crate) addresses: Vec<i32>,
    pub(crate) types: Vec<Arc<Type>>,
}

/// A datatype.
#[derive(Debug, Clone, Default)]
pub(crate) struct Type {
    pub(crate) size: u64,
    pub(crate) lb: i64,
    pub(crate) extent: i64,
    pub(crate) true_lb: i64,
    pub(crate) true_ub: i64,
    pub(crate) align: i64,
    /// How deep the types are nested that it is made of.
    pub(crate) depth: u32,
    /// Whether the bounds were set by `MPI_Type_create_resized`.
    pub(crate) marked: bool,
    pub(crate) runs: Vec<Run>,
    pub(crate) signature: Signature,
    /// What every element is, if they are all of one kind.
    pub(crate) kind: Option<Kind>,
    /// Whether it is one of the predefined.
    pub(crate) basic: bool,
    pub(crate) recipe: Recipe,
}

/// `length` copies of a type, from `at` on.
pub(crate) struct Part<'a> {
    pub(crate) at: i64,
    pub(crate) length: u64,
    pub(crate) old: &'a Arc<Type>,
}

impl Type {
    /// A predefined type.
    pub(crate) fn basic(kind: Kind) -> Self {
        let size = kind.size() as u64;
        let (lb, end) = (0, kind.extent() as i64);
        let run = |offset, len| Run { offset, len, stride: 0, repeat: 1 };
        let runs = match kind.pair() {
            Some((value, index)) if value.size() != index => {
                vec![run(0, value.size() as u64), run(index as i64, 4)]
            }
            _ => vec![run(0, size)],
        };
        let true_ub = runs.iter().map(|run| run.offset + run.len as i64).max().unwrap_or(0);
        let signature = Signature { items: vec![(1, Atom::Basic(kind))], bytes: size, elements: 1 };
        Self {
            size,
            lb,
            extent: end,
            true_lb: 0,
            true_ub,
            align: kind.align() as i64,
            depth: 0,
            marked: false,
            runs,
            signature,
            kind: Some(kind),
            basic: true,
            recipe: Recipe::default(),
        }
    }

    pub(crate) fn ub(&self) -> i64 {
        self.lb + self.extent
    }

    /// Whether any number of them lies in memory without gaps, from the address on.
    #[inline]
    pub(crate) fn is_dense(&self) -> bool {
        match self.runs.as_slice() {
            [run] => run.repeat == 1 && run.offset == 0 && run.len as i64 == self.extent,
            [] => true,
            _ => false,
        }
    }

    /// Fails unless addresses can be computed with its bounds.
    pub(crate) fn check_bounds(&self) -> Result {
        let wide = self.lb.abs() > SPAN_MAX || self.extent.saturating_abs() > SPAN_MAX;
        ensure(!wide, abi::ERR_ARG, || "the datatype is larger than any memory".to_owned())?;
        self.check_depth()
    }

    fn check_depth(&self) -> Result {
        ensure(self.depth <= DEPTH_MAX, abi::ERR_NO_MEM, || {
            format!("the datatype nests {} others, of which {DEPTH_MAX} are possible", self.depth)
        })
    }

    fn push_run(&mut self, new: Run) -> Result {
        if new.len == 0 || new.repeat == 0 {
            return Ok(());
        }
        if new.repeat > 1 && new.stride == new.len as i64 {
            return self.push_run(Run { len: new.len * new.repeat, stride: 0, repeat: 1, ..new });
        }
        if let Some(last) = self.runs.last_mut().filter(|_| new.repeat == 1) {
            if last.repeat == 1 && last.offset + last.len as i64 == new.offset {
                last.len += new.len;
                return Ok(());
            }
            let step = new.offset - last.offset;
            if last.len == new.len && last.repeat == 1 {
                (last.stride, last.repeat) = (step, 2);
                return Ok(());
            }
            if last.len == new.len && step == last.stride * last.repeat as i64 {
                last.repeat += 1;
                return Ok(());
            }
        }
        let text = || format!("the datatype has more than {RUNS_MAX} separate blocks");
        ensure(self.runs.len() < RUNS_MAX, abi::ERR_NO_MEM, text)?;
        self.runs.push(new);
        Ok(())
    }

    fn push_part(&mut self, part: &Part<'_>) -> Result {
        let (old, extent) = (part.old, part.old.extent);
        if old.size == 0 || part.length == 0 {
            return Ok(());
        }
        if let [run] = old.runs.as_slice()
            && run.repeat == 1
        {
            let offset = part.at + run.offset;
            return self.push_run(Run { offset, stride: extent, repeat: part.length, ..*run });
        }
        for copy in 0..part.length {
            let at = part.at + copy as i64 * extent;
            for run in &old.runs {
                self.push_run(Run { offset: at + run.offset, ..*run })?;
            }
        }
        Ok(())
    }

    /// Puts a type together.
    pub(crate) fn build(parts: &[Part<'_>], recipe: Recipe) -> Result<Self> {
        let mut ty = Self { recipe, align: 1, ..Self::default() };
        let (mut bounds, mut marks, mut trues) = (None, None, None);
        for part in parts.iter().filter(|part| part.length > 0) {
            let old = part.old;
            let span = old.extent.saturating_mul(part.length as i64 - 1);
            let wide = |value: i64| value.abs() > SPAN_MAX;
            let too_large = wide(old.lb)
                || wide(old.extent)
                || wide(part.at)
                || wide(span)
                || wide(part.at + span);
            ensure(
                !too_large && part.length.saturating_mul(old.size) < SPAN_MAX as u64,
                abi::ERR_ARG,
                || "the datatype is larger than any memory".to_owned(),
            )?;
            ty.push_part(part)?;
            ty.signature.push(part.length, old);
            ty.align = ty.align.max(old.align);
            ty.depth = ty.depth.max(old.depth + 1);
            let reach =
                |low: i64, high: i64| (part.at + low + span.min(0), part.at + high + span.max(0));
            widen(&mut bounds, reach(old.lb, old.ub()));
            if old.marked {
                widen(&mut marks, reach(old.lb, old.ub()));
            }
            if old.size > 0 {
                widen(&mut trues, reach(old.true_lb, old.true_ub));
            }
        }
        ty.check_depth()?;
        let (lb, ub) = marks.or(bounds).unwrap_or((0, 0));
        (ty.lb, ty.extent, ty.marked) = (lb, ub - lb, marks.is_some());
        (ty.true_lb, ty.true_ub) = trues.unwrap_or((0, 0));
        ty.size = ty.signature.bytes;
        let mut kinds = parts.iter().filter(|part| part.length > 0 && part.old.size > 0);
        if let Some(first) = kinds.next() {
            let same = kinds.all(|part| part.old.kind == first.old.kind);
            ty.kind = first.old.kind.filter(|_| same);
        }
        Ok(ty)
    }

    /// The extent of a struct is a multiple of its strictest alignment, as C does it.
    pub(crate) fn padded(mut self) -> Self {
        if !self.marked && self.extent > 0 {
            self.extent = (self.extent + self.align - 1) / self.align * self.align;
        }
        self
    }

    /// The same bytes with other bounds.
    pub(crate) fn resized(&self, lb: i64, extent: i64, recipe: Recipe) -> Self {
        Self { lb, extent, marked: true, basic: false, recipe, ..self.clone() }
    }

    /// The range that `count` of them touch: its first byte and its length.
    pub(crate) fn reach(&self, addr: u32, count: u64) -> (i64, u64) {
        if count == 0 || self.size == 0 {
            return (i64::from(addr), 0);
        }
        let span = self.extent.saturating_mul(count as i64 - 1);
        let low = self.true_lb.saturating_add(span.min(0));
        let high = self.true_ub.saturating_add(span.max(0));
        (low.saturating_add(i64::from(addr)), high.saturating_sub(low) as u64)
    }

    /// The bytes of `count` of them.
    pub(crate) fn bytes(&self, count: u64) -> Result<u64> {
        let bytes = self.size.checked_mul(count).filter(|bytes| *bytes < SPAN_MAX as u64);
        bytes.ok_or_else(|| {
            fault(abi::ERR_COUNT, format!("{count} elements are more than any memory holds"))
        })
    }
}

fn widen(bounds: &mut Option<(i64, i64)>, (low, high): (i64, i64)) {
    let (old_low, old_high) = bounds.unwrap_or((low, high));
    *bounds = Some((old_low.min(low), old_high.max(high)));
}
