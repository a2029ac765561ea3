//! A cell's graphs and contexts, and what its calls do with them.

use super::{CARRIED_MAX_BYTES, CONTEXTS_MAX, Errno, GRAPHS_MAX, Given, NAME_MAX_BYTES};
use crate::wasi::{Bytes, memory::Guest};
use inference::{File, Kind, Limits, Model, Tensor};
use std::{sync::Arc, time::Instant};
use types::Digest;

/// ONNX, and whatever the bytes are.
const ENCODINGS: [u32; 2] = [1, 5];
/// The processor; others are graphics and tensor processors.
const TARGETS: std::ops::RangeInclusive<u32> = 0..=2;
const PROCESSOR: u32 = 0;
/// Dimensions of a tensor that a guest sets.
const RANK_MAX: u32 = 16;

/// What one cell has of models.
#[derive(Debug, Default)]
pub(crate) struct Neural {
    pub(super) given: Vec<Given>,
    pub(super) graphs: Vec<Graph>,
    pub(super) contexts: Vec<Context>,
    /// Most bytes of graphs and tensors.
    pub(super) memory_bytes: u64,
    /// Of those, taken.
    pub(super) taken_bytes: u64,
    /// Bytes that a snapshot has of them at most.
    carried_bytes: u64,
    /// When computing is interrupted.
    until: Option<Instant>,
}

/// A graph that was loaded.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) origin: Origin,
    pub(super) model: Model,
}

/// Where a graph comes from.
#[derive(Debug)]
pub(super) enum Origin {
    Given { name: String, digest: Digest },
    Bytes(Bytes),
}

/// What is computed with a graph.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) graph: usize,
    pub(super) inputs: Vec<Option<Arc<Tensor>>>,
    pub(super) outputs: Option<Vec<Tensor>>,
    /// While it computes: the bytes that were taken for that.
    computing: Option<u64>,
}

/// A computation, apart from the cell.
pub(super) struct Job {
    model: Model,
    inputs: Vec<Arc<Tensor>>,
    until: Option<Instant>,
}

impl Job {
    pub(super) fn run(&self) -> inference::Result<Vec<Tensor>> {
        let inputs: Vec<&Tensor> = self.inputs.iter().map(|input| &**input).collect();
        self.model.run(&inputs, self.until)
    }
}

impl Context {
    pub(super) fn of(graph: usize, model: &Model) -> Self {
        let inputs = vec![None; model.inputs().len()];
        Self { graph, inputs, outputs: None, computing: None }
    }
}

impl Neural {
    /// With these models and so much memory for what it loads and sets; models that were given
    /// have their part of it.
    pub(crate) fn new(given: Vec<Given>, memory_bytes: u64) -> Self {
        let models = given.iter().map(|given| given.model.memory_bytes());
        let taken_bytes = models.fold(0, u64::saturating_add);
        Self { given, memory_bytes, taken_bytes, ..Self::default() }
    }

    /// Interrupts what is computed after this moment.
    pub(crate) fn set_deadline(&mut self, until: Instant) {
        self.until = Some(until);
    }

    /// Whether computing is interrupted from now on.
    pub(super) fn is_late(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Whether there is nothing that a snapshot would have to carry.
    pub(super) fn is_unused(&self) -> bool {
        self.graphs.is_empty()
    }

    pub(super) fn take(&mut self, bytes: u64) -> Result<(), Errno> {
        let taken = self.taken_bytes.saturating_add(bytes);
        if taken > self.memory_bytes {
            return Err(Errno::TooLarge);
        }
        self.taken_bytes = taken;
        Ok(())
    }

    /// Room in a snapshot, and as much memory, or more.
    pub(super) fn carry(&mut self, bytes: u64, memory_bytes: u64) -> Result<(), Errno> {
        let carried = self.carried_bytes.saturating_add(bytes);
        if carried > CARRIED_MAX_BYTES {
            return Err(Errno::TooLarge);
        }
        self.take(memory_bytes)?;
        self.carried_bytes = carried;
        Ok(())
    }

    pub(super) fn load(
        &mut self,
        memory: &mut [u8],
        builders: u32,
        count: u32,
        encoding: u32,
        target: u32,
        result: u32,
    ) -> Result<(), Errno> {
        let mut guest = Guest(memory);
        guest.range(result, 4).map_err(wrong)?;
        if !ENCODINGS.contains(&encoding) {
            return Err(Errno::InvalidEncoding);
        }
        match target {
            PROCESSOR => {}
            _ if TARGETS.contains(&target) => return Err(Errno::UnsupportedOperation),
            _ => return Err(Errno::InvalidArgument),
        }
        // An ONNX model is one piece.
        if count != 1 {
            return Err(Errno::InvalidArgument);
        }
        let (at, length) = pair(&guest, builders)?;
        let file = guest.slice(at, length).map_err(wrong)?.to_vec();
        let graph = self.load_bytes(file)?;
        guest.put_u32(result, graph).map_err(wrong)
    }

    pub(super) fn load_bytes(&mut self, file: Vec<u8>) -> Result<u32, Errno> {
        let limits = Limits::for_programs(self.memory_bytes.saturating_sub(self.taken_bytes));
        let largest = limits.memory_bytes.min(CARRIED_MAX_BYTES);
        if self.graphs.len() >= GRAPHS_MAX || file.len() as u64 > largest {
            return Err(Errno::TooLarge);
        }
        let read = File::read(&file, &limits).and_then(|read| read.model(&limits));
        let model = read.map_err(|error| {
            tracing::debug!(%error, "a guest's model is refused");
            match error {
                inference::Error::TooMuch { .. } => Errno::TooLarge,
                _ => Errno::InvalidEncoding,
            }
        })?;
        self.carry(file.len() as u64, model.memory_bytes())?;
        Ok(self.add(Graph { origin: Origin::Bytes(Bytes(file)), model }))
    }

    pub(super) fn load_by_name(
        &mut self,
        memory: &mut [u8],
        name: u32,
        length: u32,
        result: u32,
    ) -> Result<(), Errno> {
        let mut guest = Guest(memory);
        guest.range(result, 4).map_err(wrong)?;
        if length as usize > NAME_MAX_BYTES {
            return Err(Errno::NotFound);
        }
        let name = guest.slice(name, length).map_err(wrong)?;
        let given = self.given.iter().find(|given| given.name.as_bytes() == name);
        let Given { name, digest, model } = given.cloned().ok_or(Errno::NotFound)?;
        if self.graphs.len() >= GRAPHS_MAX {
            return Err(Errno::TooLarge);
        }
        let graph = self.add(Graph { origin: Origin::Given { name, digest }, model });
        guest.put_u32(result, graph).map_err(wrong)
    }

    pub(super) fn add(&mut self, graph: Graph) -> u32 {
        self.graphs.push(graph);
        self.graphs.len() as u32 - 1
    }

    pub(super) fn init_execution_context(
        &mut self,
        memory: &mut [u8],
        graph: u32,
        result: u32,
    ) -> Result<(), Errno> {
        let mut guest = Guest(memory);
        guest.range(result, 4).map_err(wrong)?;
        let model = self.graphs.get(graph as usize).ok_or(Errno::InvalidArgument)?.model.clone();
        let context = self.add_context(Context::of(graph as usize, &model), &model)?;
        guest.put_u32(result, context).map_err(wrong)
    }

    /// With room for all that may be set and computed in it.
    pub(super) fn add_context(&mut self, context: Context, model: &Model) -> Result<u32, Errno> {
        if self.contexts.len() >= CONTEXTS_MAX {
            return Err(Errno::TooLarge);
        }
        let tensors = model.inputs().iter().chain(model.outputs()).map(|info| info.size_bytes());
        let bytes = tensors.fold(0, u64::saturating_add);
        self.carry(bytes, bytes)?;
        self.contexts.push(context);
        Ok(self.contexts.len() as u32 - 1)
    }

    fn context(&mut self, number: u32) -> Result<(&mut Context, &Model), Errno> {
        let context = self.contexts.get_mut(number as usize).ok_or(Errno::InvalidArgument)?;
        let graph = self.graphs.get(context.graph).ok_or(Errno::InvalidArgument)?;
        match context.computing {
            None => Ok((context, &graph.model)),
            Some(_) => Err(Errno::Busy),
        }
    }

    pub(super) fn set_input(
        &mut self,
        memory: &mut [u8],
        context: u32,
        index: u32,
        tensor: u32,
    ) -> Result<(), Errno> {
        let guest = Guest(memory);
        let (context, model) = self.context(context)?;
        let info = model.inputs().get(index as usize).ok_or(Errno::InvalidArgument)?;
        let (dims_at, rank) = pair(&guest, tensor)?;
        let kind = kind(guest.slice(tensor, 9).map_err(wrong)?[8])?;
        let (at, length) = pair(&guest, tensor.checked_add(12).ok_or(Errno::InvalidArgument)?)?;
        if rank > RANK_MAX {
            return Err(Errno::InvalidArgument);
        }
        let dims = guest.slice(dims_at, rank * 4).map_err(wrong)?.as_chunks::<4>().0.iter();
        let dims: Vec<usize> = dims.map(|dim| u32::from_le_bytes(*dim) as usize).collect();
        if (kind, &dims) != (info.kind, &info.dims) {
            return Err(Errno::InvalidArgument);
        }
        let bytes = guest.slice(at, length).map_err(wrong)?;
        let tensor = Tensor::from_bytes(kind, &dims, bytes);
        let tensor = tensor.map_err(|_| Errno::InvalidArgument)?;
        context.inputs[index as usize] = Some(Arc::new(tensor));
        Ok(())
    }

    /// What is to be computed; until [`Neural::end`] nothing else is done with the context.
    pub(super) fn begin(&mut self, number: u32) -> Result<Job, Errno> {
        let (context, model) = self.context(number)?;
        let inputs: Option<Vec<_>> = context.inputs.iter().cloned().collect();
        let inputs = inputs.ok_or(Errno::InvalidArgument)?;
        let model = model.clone();
        // What a graph was loaded with has room for one answer at a time.
        let alone = self.contexts.iter().all(|context| context.computing.is_none());
        let bytes = if alone { 0 } else { model.memory_bytes() };
        self.take(bytes).map_err(|_| Errno::Busy)?;
        self.contexts[number as usize].computing = Some(bytes);
        Ok(Job { model, inputs, until: self.until })
    }

    pub(super) fn end(
        &mut self,
        context: u32,
        answer: inference::Result<Vec<Tensor>>,
    ) -> Result<(), Errno> {
        let context = self.contexts.get_mut(context as usize).ok_or(Errno::InvalidArgument)?;
        let taken = context.computing.take().unwrap_or_default();
        self.taken_bytes -= taken;
        context.outputs = None;
        match answer {
            Ok(outputs) => context.outputs = Some(outputs),
            Err(error) => {
                tracing::debug!(%error, "a guest's model did not answer");
                return Err(Errno::RuntimeError);
            }
        }
        Ok(())
    }

    pub(super) fn get_output(
        &mut self,
        memory: &mut [u8],
        context: u32,
        index: u32,
        buffer: u32,
        room: u32,
        result: u32,
    ) -> Result<(), Errno> {
        let mut guest = Guest(memory);
        guest.range(result, 4).map_err(wrong)?;
        let (context, model) = self.context(context)?;
        let info = model.outputs().get(index as usize).ok_or(Errno::InvalidArgument)?;
        let output = context.outputs.as_ref().and_then(|all| all.get(index as usize));
        let output = output.ok_or(Errno::RuntimeError)?;
        if info.size_bytes() > u64::from(room) {
            return Err(Errno::TooLarge);
        }
        let bytes = output.to_bytes();
        guest.write(buffer, &bytes).map_err(wrong)?;
        guest.put_u32(result, bytes.len() as u32).map_err(wrong)
    }
}

/// An address that is not there.
fn wrong(_: crate::wasi::Errno) -> Errno {
    Errno::InvalidArgument
}

/// An address and a length.
fn pair(guest: &Guest<'_>, at: u32) -> Result<(u32, u32), Errno> {
    let second = at.checked_add(4).ok_or(Errno::InvalidArgument)?;
    Ok((guest.u32(at).map_err(wrong)?, guest.u32(second).map_err(wrong)?))
}

/// Kinds of numbers, in wasi-nn's order: of 16 bits, too, which we do not have.
fn kind(number: u8) -> Result<Kind, Errno> {
    Ok(match number {
        0 => return Err(Errno::UnsupportedOperation),
        1 => Kind::F32,
        2 => Kind::F64,
        3 => Kind::U8,
        4 => Kind::I32,
        5 => Kind::I64,
        _ => return Err(Errno::InvalidArgument),
    })
}
