//! Whether a value is an input or a setting: that changed from one version of the operators to the
//! next, and the runtime looks at one of them alone. The other may say anything, so it is refused.

use super::rules::Call;
use crate::{Error, Result, error::tame};

/// Operators, a setting of theirs, and the input and version that took its place.
const FORMS: &[(&str, &str, usize, i64)] = &[
    ("Pad", "pads", 1, 11),
    ("Reshape", "shape", 1, 1),
    ("Resize", "scales", 2, 1),
    ("Resize", "sizes", 3, 1),
    ("Slice", "starts", 1, 10),
    ("Slice", "ends", 2, 10),
    ("Slice", "axes", 3, 10),
    ("Slice", "steps", 4, 1),
    ("Split", "split", 1, 13),
    ("Squeeze", "axes", 1, 13),
    ("Unsqueeze", "axes", 1, 13),
    ("Upsample", "scales", 1, 9),
    ("ReduceSum", "axes", 1, 13),
    ("Reduce", "axes", 1, 18),
];

/// # Errors
/// A form that the runtime would not look at, and an input that it would take for another.
pub(super) fn check(call: &Call<'_>) -> Result<()> {
    let op = call.node.op_type.as_str();
    if let Some(at) = (0..call.inputs.len()).find(|at| gap(call, *at)) {
        let text = format!("the operator `{}` leaves out its input {at}, which it takes", tame(op));
        return Err(Error::Unfit(text));
    }
    let of_op = |name: &str| name == op || (name == "Reduce" && op.starts_with(name));
    // Sums are not reduced by two rules.
    let mut forms = FORMS.iter().filter(|(name, ..)| of_op(name));
    let forms: Vec<_> = match op {
        "ReduceSum" => forms.next().into_iter().collect(),
        _ => forms.collect(),
    };
    for (_, name, input, since) in forms {
        let given = call.input(*input).is_some();
        // Parts that are equal are no input in any version.
        let newer = call.opset >= *since && (op != "Split" || given);
        let (right, wrong, both) = match newer {
            true => ("an input", "a setting", call.has(name)),
            false => ("a setting", "an input", given),
        };
        if both {
            let (op, version) = (tame(op), call.opset);
            return Err(Error::Unfit(format!(
                "the operator `{op}` of version {version} takes `{name}` as {right}, not as {wrong}"
            )));
        }
    }
    Ok(())
}

/// Whether an input is left out before others, and may not be: the runtime counts those that are
/// there.
fn gap(call: &Call<'_>, at: usize) -> bool {
    let optional = match call.node.op_type.as_str() {
        "Resize" if call.opset >= 13 => matches!(at, 1 | 2),
        "Clip" | "Dropout" => at == 1,
        "Slice" => at == 3,
        _ => false,
    };
    let later = call.inputs.get(at + 1..).unwrap_or_default();
    call.input(at).is_none() && !optional && later.iter().any(Option::is_some)
}
