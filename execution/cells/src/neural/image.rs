//! A cell's graphs and contexts as a value, to be encoded, sent and restored.

use super::{
    CONTEXTS_MAX, Errno, GRAPHS_MAX, Given, NAME_MAX_BYTES, Neural,
    graphs::{Context, Graph, Origin},
};
use crate::wasi::{Bytes, RestoreError};
use inference::{Info, Model, Tensor};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use types::Digest;

/// A saved view of models. Those that were given are told by name and digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct NeuralImage {
    graphs: Vec<GraphImage>,
    contexts: Vec<ContextImage>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum GraphImage {
    Given { name: String, digest: Digest },
    Bytes(Bytes),
}

/// Tensors are as large and of such numbers as the model says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ContextImage {
    graph: u32,
    inputs: Vec<Option<Bytes>>,
    outputs: Option<Vec<Bytes>>,
}

impl NeuralImage {
    /// That it does not contradict itself.
    pub(crate) fn check(&self) -> Result<(), RestoreError> {
        let malformed = |what: &str| Err(RestoreError::Malformed { what: what.into() });
        if self.graphs.len() > GRAPHS_MAX || self.contexts.len() > CONTEXTS_MAX {
            return malformed("it has more graphs or contexts than a cell may have");
        }
        let named = |graph: &GraphImage| match graph {
            GraphImage::Given { name, .. } => name.len() <= NAME_MAX_BYTES,
            GraphImage::Bytes(_) => true,
        };
        let graphs = self.graphs.len();
        if !self.graphs.iter().all(named) {
            return malformed("a graph has a name that is too long");
        }
        match self.contexts.iter().all(|context| (context.graph as usize) < graphs) {
            true => Ok(()),
            false => malformed("a context is of no graph"),
        }
    }
}

impl Neural {
    /// What a snapshot carries; nothing if no graph was loaded.
    pub(crate) fn image(&self) -> Option<NeuralImage> {
        if self.is_unused() {
            return None;
        }
        let graph = |graph: &Graph| match &graph.origin {
            Origin::Given { name, digest } => {
                GraphImage::Given { name: name.clone(), digest: *digest }
            }
            Origin::Bytes(file) => GraphImage::Bytes(file.clone()),
        };
        let bytes = |tensor: &Tensor| Bytes(tensor.to_bytes());
        let context = |context: &Context| ContextImage {
            graph: context.graph as u32,
            inputs: context.inputs.iter().map(|it| it.as_deref().map(bytes)).collect(),
            outputs: context.outputs.as_ref().map(|all| all.iter().map(bytes).collect()),
        };
        Some(NeuralImage {
            graphs: self.graphs.iter().map(graph).collect(),
            contexts: self.contexts.iter().map(context).collect(),
        })
    }

    /// Goes on from an image with the models that are given now. Where a name means another file
    /// than it did, its contexts go on without what was set and computed in them.
    ///
    /// # Errors
    /// A name that is not given, or what contradicts itself or is too much.
    pub(crate) fn restore(
        image: NeuralImage,
        given: Vec<Given>,
        memory_bytes: u64,
    ) -> Result<Self, RestoreError> {
        image.check()?;
        let mut neural = Self::new(given, memory_bytes);
        let mut same = Vec::new();
        for graph in image.graphs {
            same.push(neural.restore_graph(graph)?);
        }
        for context in image.contexts {
            let graph = context.graph as usize;
            let model = neural.graphs[graph].model.clone();
            let restored = match same[graph] {
                true => restored(context, &model)?,
                false => Context::of(graph, &model),
            };
            neural.add_context(restored, &model).map_err(too_much)?;
        }
        Ok(neural)
    }

    /// Whether it is the graph that it was.
    fn restore_graph(&mut self, graph: GraphImage) -> Result<bool, RestoreError> {
        match graph {
            GraphImage::Bytes(Bytes(file)) => {
                self.load_bytes(file).map_err(too_much)?;
                Ok(true)
            }
            GraphImage::Given { name, digest } => {
                let given = self.given.iter().find(|given| given.name == name).cloned();
                let Some(Given { name, digest: found, model }) = given else {
                    return Err(RestoreError::NoModel { name });
                };
                self.add(Graph { origin: Origin::Given { name, digest: found }, model });
                Ok(found == digest)
            }
        }
    }
}

fn restored(image: ContextImage, model: &Model) -> Result<Context, RestoreError> {
    let malformed = || RestoreError::Malformed { what: "a tensor does not fit its graph".into() };
    let tensor = |bytes: &Bytes, info: &Info| {
        Tensor::from_bytes(info.kind, &info.dims, &bytes.0).map_err(|_| malformed())
    };
    let all = |bytes: Vec<Bytes>| {
        let pairs = bytes.iter().zip(model.outputs());
        let tensors = pairs.map(|(bytes, info)| tensor(bytes, info)).collect::<Result<Vec<_>, _>>();
        tensors.and_then(|all| match bytes.len() == model.outputs().len() {
            true => Ok(all),
            false => Err(malformed()),
        })
    };
    let mut context = Context::of(image.graph as usize, model);
    if image.inputs.len() != context.inputs.len() {
        return Err(malformed());
    }
    for ((bytes, info), input) in image.inputs.iter().zip(model.inputs()).zip(&mut context.inputs) {
        *input = bytes.as_ref().map(|bytes| tensor(bytes, info)).transpose()?.map(Arc::new);
    }
    context.outputs = image.outputs.map(all).transpose()?;
    Ok(context)
}

fn too_much(errno: Errno) -> RestoreError {
    let what = match errno {
        Errno::TooLarge => "its graphs and tensors are more than the memory that is granted",
        _ => "a graph that it carries is no model that is run",
    };
    RestoreError::Malformed { what: what.into() }
}
