//! Operators on pictures: channels, each with rows and columns.

use super::{
    rules::{Call, Made},
    shapes::{Shape, volume},
};

/// What is looked at for one number of the output.
struct Window {
    kernel: Vec<u64>,
    strides: Vec<u64>,
    dilations: Vec<u64>,
    /// Before and behind each dimension.
    pads: Vec<(u64, u64)>,
    /// The output is as large as strides make it, whatever the window.
    same: bool,
    /// Windows that hang over the end count, too.
    over: bool,
}

impl Window {
    fn of(call: &Call<'_>, kernel: &[u64]) -> Option<Self> {
        let rank = kernel.len();
        let list = |name: &str| match call.numbers(name) {
            None => Some(vec![1; rank]),
            Some(all) => positive(all).filter(|all| all.len() == rank),
        };
        let (auto, given) = (call.text("auto_pad"), call.numbers("pads"));
        let pads = match given.filter(|_| matches!(auto, b"" | b"NOTSET")) {
            None => vec![(0, 0); rank],
            Some(all) if all.len() == 2 * rank => {
                let all: Vec<u64> =
                    all.iter().map(|it| u64::try_from(*it).ok()).collect::<Option<_>>()?;
                (0..rank).map(|at| (all[at], all[rank + at])).collect()
            }
            Some(_) => return None,
        };
        Some(Self {
            kernel: positive_all(kernel)?,
            strides: list("strides")?,
            dilations: list("dilations")?,
            pads,
            same: matches!(auto, b"SAME_UPPER" | b"SAME_LOWER"),
            over: call.number("ceil_mode", 0) != 0,
        })
    }

    /// The dimensions of what comes out, and of what goes in with what is put around it.
    fn over(&self, from: &[u64]) -> Option<(Shape, Shape)> {
        let each = from.iter().enumerate().map(|(at, dim)| {
            let reach = (self.kernel[at] - 1).checked_mul(self.dilations[at])?.checked_add(1)?;
            if self.same {
                return Some((dim.div_ceil(self.strides[at]), dim.checked_add(reach)?));
            }
            let padded = dim.checked_add(self.pads[at].0)?.checked_add(self.pads[at].1)?;
            let room = padded.checked_sub(reach)?;
            let steps = match self.over {
                true => room.div_ceil(self.strides[at]),
                false => room / self.strides[at],
            };
            Some((steps + 1, padded))
        });
        let each: Vec<(u64, u64)> = each.collect::<Option<_>>()?;
        Some(each.into_iter().unzip())
    }
}

fn positive(all: &[i64]) -> Option<Vec<u64>> {
    all.iter().map(|it| u64::try_from(*it).ok().filter(|it| *it > 0)).collect()
}

fn positive_all(all: &[u64]) -> Option<Vec<u64>> {
    all.iter().all(|it| *it > 0).then(|| all.to_vec())
}

/// A picture in one to three dimensions: how many, channels, and the rest.
fn picture(shape: &[u64]) -> Option<(u64, u64, &[u64])> {
    match shape {
        [count, channels, rest @ ..] if (1..=3).contains(&rest.len()) => {
            Some((*count, *channels, rest))
        }
        _ => None,
    }
}

pub(super) fn convolved(call: &Call<'_>) -> Option<Made> {
    let (count, channels, from) = picture(call.shape(0)?)?;
    let (made, each, kernel) = picture(call.shape(1)?)?;
    let groups = u64::try_from(call.number("group", 1)).ok().filter(|it| *it > 0)?;
    // The runtime would go by the setting.
    if call.numbers("kernel_shape").is_some_and(|given| positive(given).as_deref() != Some(kernel))
    {
        return None;
    }
    let fits = each.checked_mul(groups) == Some(channels) && made.is_multiple_of(groups);
    if kernel.len() != from.len() || !fits {
        return None;
    }
    let (out, padded) = Window::of(call, kernel)?.over(from)?;
    let around = volume(&padded).saturating_mul(count).saturating_mul(channels);
    // Windows may be laid out one beside the other, and multiplied as matrices are.
    let looked_at = volume(kernel).saturating_mul(each);
    let laid_out =
        volume(&out).saturating_mul(looked_at).saturating_mul(groups).saturating_mul(count);
    let outcome = call.made([&[count, made], &out[..]].concat());
    let products = volume(&outcome.shapes[0]).saturating_mul(looked_at);
    Some(Made {
        products: outcome.products.saturating_add(products),
        scratch_bytes: around.saturating_add(laid_out).saturating_mul(outcome.each_bytes),
        ..outcome
    })
}

pub(super) fn pooled(call: &Call<'_>) -> Option<Made> {
    let (count, channels, from) = picture(call.shape(0)?)?;
    let kernel = positive(call.numbers("kernel_shape")?)?;
    if kernel.len() != from.len() {
        return None;
    }
    let (out, padded) = Window::of(call, &kernel)?.over(from)?;
    let around = volume(&padded).saturating_mul(count).saturating_mul(channels);
    let outcome = call.made([&[count, channels], &out[..]].concat());
    let products = volume(&outcome.shapes[0]).saturating_mul(volume(&kernel));
    let scratch_bytes = around.saturating_mul(outcome.each_bytes);
    Some(Made { products, scratch_bytes, ..outcome })
}

pub(super) fn pooled_whole(call: &Call<'_>) -> Option<Made> {
    let from = call.shape(0)?;
    let (count, channels, rest) = picture(from)?;
    let outcome = call.made([&[count, channels], &vec![1; rest.len()][..]].concat());
    Some(Made { products: volume(from), ..outcome })
}

pub(super) fn padded(call: &Call<'_>) -> Option<Made> {
    let from = call.shape(0)?;
    let pads = call.listed("pads", 1)?;
    if pads.len() != 2 * from.len() || call.input(3).is_some() {
        return None;
    }
    let pad = |at: usize| u64::try_from(pads[at]).ok();
    let wider =
        |(at, dim): (usize, &u64)| dim.checked_add(pad(at)?)?.checked_add(pad(from.len() + at)?);
    Some(call.made(from.iter().enumerate().map(wider).collect::<Option<_>>()?))
}

/// To sizes, or by factors.
pub(super) fn resized(call: &Call<'_>) -> Option<Made> {
    let from = call.shape(0)?;
    if call.has("axes") || call.has("keep_aspect_ratio_policy") {
        return None;
    }
    let shape: Shape = match scaling(call)? {
        Scaling::To(sizes) => {
            sizes.iter().map(|it| u64::try_from(*it).ok()).collect::<Option<_>>()?
        }
        Scaling::By(factors) if factors.len() == from.len() => {
            from.iter().zip(factors).map(grown).collect::<Option<_>>()?
        }
        Scaling::By(_) => return None,
    };
    if shape.len() != from.len() {
        return None;
    }
    let outcome = call.made(shape);
    // Each is made of up to four by four.
    let products = volume(&outcome.shapes[0]).saturating_mul(16);
    let scratch_bytes = volume(&outcome.shapes[0]).saturating_mul(outcome.each_bytes);
    Some(Made { products, scratch_bytes, ..outcome })
}

enum Scaling<'a> {
    To(&'a [i64]),
    By(&'a [f32]),
}

/// Either sizes or factors: with both, which are taken is the runtime's choice. Factors are the
/// input after the picture in the first version, and the one after the next later.
fn scaling<'a>(call: &Call<'a>) -> Option<Scaling<'a>> {
    let (factors, sizes) = match (call.node.op_type.as_str(), call.opset) {
        ("Resize", 11..) => (2, 3),
        _ => (1, 2),
    };
    let given = |at: usize| call.input(at).filter(|it| it.shape != [0]);
    if call.inputs.len() > 4 || (factors == 1 && call.inputs.len() > 2) {
        return None;
    }
    match (call.reals("scales"), given(factors), given(sizes)) {
        (Some(all), None, None) => Some(Scaling::By(all)),
        (None, Some(all), None) => all.real().map(Scaling::By),
        (None, None, Some(all)) => all.whole().map(Scaling::To),
        _ => None,
    }
}

/// As the runtime rounds it.
fn grown((dim, factor): (&u64, &f32)) -> Option<u64> {
    let grown = match factor.round() == *factor {
        true => *dim as f64 * f64::from(*factor),
        false => f64::from(*dim as f32 * factor),
    };
    (0.0..1e9).contains(&grown).then_some(grown as u64)
}
