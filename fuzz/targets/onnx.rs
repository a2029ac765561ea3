//! ONNX files, which strangers make: read within limits, and asked once. The first byte says how many
//! figures a row has.
#![no_main]

use learning::model::{Model, Onnx};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((width, file)) = bytes.split_first() else { return };
    let width = usize::from(width % 16) + 1;
    if let Ok(model) = Onnx::read(file.to_vec(), vec![0.5; width]) {
        model.predict(&vec![0.25; width]);
    }
});
