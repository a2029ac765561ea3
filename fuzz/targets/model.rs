//! ONNX files, which strangers make, as programs bring them: read within the limits of a small
//! program, and asked once.
#![no_main]

use inference::{File, Limits, Tensor};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { products: 50_000_000, ..Limits::for_programs(16 << 20) };
    let Ok(model) = File::read(bytes, &limits).and_then(|file| file.model(&limits)) else { return };
    let zeros = model.inputs().iter().map(|info| {
        let bytes = vec![0; info.size_bytes() as usize];
        Tensor::from_bytes(info.kind, &info.dims, &bytes).expect("its own size fits")
    });
    let inputs: Vec<Tensor> = zeros.collect();
    // A number that it cannot use is an error.
    let _ = model.run(&inputs.iter().collect::<Vec<_>>(), None);
});
