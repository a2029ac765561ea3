//! A model that is ready, and its answers.

use crate::{Error, File, Kind, Result, Tensor, bounds::Cost, error::brief, message::ModelProto};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};
use tract_onnx::{prelude::*, tract_core::plan::eval};

/// Stack of the thread that makes a model ready.
const READY_STACK_BYTES: usize = 8 << 20;

/// An input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// What kind of numbers.
    pub kind: Kind,
    /// How many along each dimension.
    pub dims: Vec<usize>,
}

impl Info {
    /// Bytes of such a tensor.
    pub fn size_bytes(&self) -> u64 {
        self.dims.iter().fold(self.kind.size_bytes(), |all, dim| all.saturating_mul(*dim as u64))
    }

    /// Whether a tensor is one of these.
    pub fn is_of(&self, tensor: &Tensor) -> bool {
        self.kind == tensor.kind() && self.dims == tensor.dims()
    }
}

/// A model that can be asked, from any thread.
#[derive(Clone)]
pub struct Model {
    plan: Arc<TypedRunnableModel>,
    inputs: Vec<Info>,
    outputs: Vec<Info>,
    memory_bytes: u64,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Model({:?} to {:?})", self.inputs, self.outputs)
    }
}

/// That the time was over, through the runtime's own errors.
#[derive(Debug, thiserror::Error)]
#[error("late")]
struct Late;

impl Model {
    pub(crate) fn ready(
        file: &File,
        given: &[(String, Kind, Vec<u64>)],
        counted: &Cost,
        memory_bytes: u64,
    ) -> Result<Self> {
        let told = |text: &str| Error::Unfit(format!("the ONNX file cannot be run: {text}"));
        let planned = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(READY_STACK_BYTES);
            // A panic ends that thread alone.
            thread
                .spawn_scoped(scope, || planned(&file.proto, given, counted))
                .map(|thread| thread.join())
        });
        let plan = match planned {
            Ok(Ok(Ok(plan))) => plan,
            Ok(Ok(Err(error))) => return Err(told(&brief(&error.to_string()))),
            Ok(Err(_)) => return Err(told("its operators do not fit together")),
            Err(error) => return Err(told(&format!("no thread can be had: {error}"))),
        };
        let sized = |dims: &Vec<u64>| dims.iter().map(|dim| *dim as usize).collect::<Vec<_>>();
        let inputs = given.iter().map(|(_, kind, dims)| Info { kind: *kind, dims: sized(dims) });
        let outputs = (0..plan.model().outputs.len()).map(|at| output(&plan, at));
        let outputs: Option<Vec<_>> = outputs.collect();
        let outputs = outputs.ok_or_else(|| {
            told("an output has no fixed dimensions, or numbers of a kind that is not given")
        })?;
        // Had another shape been counted, other work would have been.
        match outputs.iter().map(|it| &it.dims[..]).eq(counted.outputs.iter().map(sized)) {
            true => Ok(Self { inputs: inputs.collect(), plan, outputs, memory_bytes }),
            false => Err(told("its outputs are not of the sizes that follow from its inputs")),
        }
    }

    /// What it takes.
    pub fn inputs(&self) -> &[Info] {
        &self.inputs
    }

    /// What it answers.
    pub fn outputs(&self) -> &[Info] {
        &self.outputs
    }

    /// Most bytes that it takes, an answer that is being computed included.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Computes all outputs. The time is looked at between operators.
    ///
    /// # Errors
    /// [`Error::Failed`] for tensors that are not what it takes, [`Error::Late`] when it is later
    /// than `until`.
    pub fn run(&self, inputs: &[&Tensor], until: Option<Instant>) -> Result<Vec<Tensor>> {
        let fits = inputs.iter().zip(&self.inputs).all(|(tensor, info)| info.is_of(tensor));
        if inputs.len() != self.inputs.len() || !fits {
            return Err(Error::Failed(format!("it takes {:?}", self.inputs)));
        }
        let compute = AssertUnwindSafe(|| self.compute(inputs, until));
        // What a stranger's file does with these numbers is not ours.
        let said = catch_unwind(compute)
            .map_err(|_| Error::Failed("its operators do not fit together".into()))?
            .map_err(|error| match error.chain().any(|cause| cause.is::<Late>()) {
                true => Error::Late,
                false => Error::Failed(brief(&error.to_string())),
            })?;
        let outputs: Option<Vec<_>> = said.iter().map(|it| Tensor::of_inner(it)).collect();
        let as_said = |outputs: &Vec<Tensor>| {
            let pairs = outputs.iter().zip(&self.outputs);
            pairs.into_iter().all(|(tensor, info)| info.is_of(tensor))
        };
        outputs
            .filter(as_said)
            .ok_or_else(|| Error::Failed("its answer is not what it said it would be".into()))
    }

    fn compute(&self, inputs: &[&Tensor], until: Option<Instant>) -> TractResult<TVec<TValue>> {
        let inputs: TractResult<TVec<TValue>> =
            inputs.iter().map(|it| it.to_inner().map(Into::into)).collect();
        self.plan.spawn()?.run_plan_with_eval(inputs?, |context, state, node, inputs| {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err(Late.into());
            }
            eval(context, state, node, inputs)
        })
    }
}

fn planned(
    proto: &ModelProto,
    given: &[(String, Kind, Vec<u64>)],
    counted: &Cost,
) -> TractResult<Arc<TypedRunnableModel>> {
    let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    let mut model = onnx.model_for_proto_model(proto)?;
    // Where the runtime finds another shape it says so before it computes with it.
    let labels: Vec<_> = model.outlet_labels.iter().map(|(at, name)| (*at, name.clone())).collect();
    for (outlet, name) in labels {
        if let Some(shape) = counted.shapes.get(&name) {
            let dims: TVec<usize> = shape.iter().map(|dim| *dim as usize).collect();
            model.set_outlet_fact(outlet, InferenceFact::shape(dims))?;
        }
    }
    for (at, (_, kind, dims)) in given.iter().enumerate() {
        let dims: TVec<usize> = dims.iter().map(|dim| *dim as usize).collect();
        model.set_input_fact(at, InferenceFact::dt_shape(kind.datum(), dims))?;
    }
    model.into_optimized()?.into_runnable()
}

fn output(plan: &TypedRunnableModel, at: usize) -> Option<Info> {
    let fact = plan.model().output_fact(at).ok()?;
    let kind = Kind::of_datum(fact.datum_type)?;
    Some(Info { kind, dims: fact.shape.as_concrete()?.to_vec() })
}
