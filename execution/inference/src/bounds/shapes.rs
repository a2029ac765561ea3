//! Shapes of what operators make.

/// How many numbers lie along each dimension.
pub(super) type Shape = Vec<u64>;

pub(super) fn volume(shape: &[u64]) -> u64 {
    shape.iter().fold(1_u64, |volume, dim| volume.saturating_mul(*dim))
}

/// A dimension's place; negative ones count from the last.
pub(super) fn place(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis.checked_add(rank as i64)? } else { axis };
    usize::try_from(axis).ok().filter(|axis| *axis < rank)
}

/// The shape that both are stretched to.
pub(super) fn stretched(one: &[u64], other: &[u64]) -> Option<Shape> {
    let rank = one.len().max(other.len());
    let dim =
        |shape: &[u64], at: usize| (at + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    (0..rank)
        .map(|at| match (dim(one, at), dim(other, at)) {
            (one, other) if one == other => Some(one),
            (1, dim) | (dim, 1) => Some(dim),
            _ => None,
        })
        .collect()
}

/// Rows of the one by columns of the other, in as many pairs as there are; with the products.
pub(super) fn multiplied(one: &[u64], other: &[u64]) -> Option<(Shape, u64)> {
    let ([pairs @ .., rows, inner], [others @ .., height, columns]) = (one, other) else {
        return None;
    };
    if inner != height {
        return None;
    }
    let mut shape = stretched(pairs, others)?;
    shape.extend([*rows, *columns]);
    let products = volume(&shape).saturating_mul(*inner);
    Some((shape, products))
}

pub(super) fn concatenated(shapes: &[&Shape], axis: i64) -> Option<Shape> {
    let (first, rest) = shapes.split_first()?;
    let mut shape = (*first).clone();
    let axis = place(axis, shape.len())?;
    for other in rest {
        let same = |at: usize| at == axis || other.get(at) == shape.get(at);
        if other.len() != shape.len() || !(0..shape.len()).all(same) {
            return None;
        }
        shape[axis] = shape[axis].saturating_add(other[axis]);
    }
    Some(shape)
}

/// To these dimensions, of which 0 keeps one and one -1 takes what is left.
pub(super) fn reshaped(from: &[u64], to: &[i64]) -> Option<Shape> {
    let keep = |(at, &dim): (usize, &i64)| match dim {
        0 => from.get(at).copied(),
        -1 => Some(1),
        _ => u64::try_from(dim).ok(),
    };
    let mut shape: Shape = to.iter().enumerate().map(keep).collect::<Option<_>>()?;
    let (whole, known) = (volume(from), volume(&shape));
    let open: Vec<_> = (0..to.len()).filter(|&at| to[at] == -1).collect();
    match open[..] {
        [] => (known == whole).then_some(shape),
        [at] if known > 0 && whole % known == 0 => {
            shape[at] = whole / known;
            Some(shape)
        }
        _ => None,
    }
}

/// Dimensions in another order; in reverse if none is given.
pub(super) fn transposed(from: &[u64], order: Option<&[i64]>) -> Option<Shape> {
    let Some(order) = order else { return Some(from.iter().rev().copied().collect()) };
    let places: Vec<usize> =
        order.iter().map(|at| place(*at, from.len())).collect::<Option<_>>()?;
    let once = (0..from.len()).all(|at| places.contains(&at));
    (once && places.len() == from.len()).then(|| places.iter().map(|at| from[*at]).collect())
}

/// Without these dimensions, or with ones in their places.
pub(super) fn reduced(from: &[u64], axes: &[i64], keep: bool) -> Option<Shape> {
    let gone: Vec<usize> = axes.iter().map(|at| place(*at, from.len())).collect::<Option<_>>()?;
    let left = from.iter().enumerate().filter_map(|(at, dim)| match gone.contains(&at) {
        false => Some(*dim),
        true => keep.then_some(1),
    });
    Some(left.collect())
}

/// With dimensions of one in these places.
pub(super) fn unsqueezed(from: &[u64], axes: &[i64]) -> Option<Shape> {
    let rank = from.len() + axes.len();
    let new: Vec<usize> = axes.iter().map(|at| place(*at, rank)).collect::<Option<_>>()?;
    let mut old = from.iter();
    let shape = (0..rank).map(|at| if new.contains(&at) { Some(1) } else { old.next().copied() });
    let shape: Shape = shape.collect::<Option<_>>()?;
    old.next().is_none().then_some(shape)
}

/// From a start to before an end, in steps.
pub(super) fn cut(dim: u64, start: i64, end: i64, step: i64) -> Option<u64> {
    let dim = i64::try_from(dim).ok()?;
    let inside = |at: i64| if at < 0 { at.saturating_add(dim).max(0) } else { at.min(dim) };
    let length = inside(end).checked_sub(inside(start))?.max(0);
    (step > 0).then(|| (length as u64).div_ceil(step as u64))
}
