use super::{Errno, Given, Neural};
use inference::write::{self, floats, graph, node, value};
use types::Digest;

/// Where a test writes a tensor's record, its dimensions and its numbers, and is answered.
const RECORD: u32 = 16;
const DIMS: u32 = 64;
const DATA: u32 = 96;
const NAME: u32 = 200;
const RESULT: u32 = 240;
const LARGEST: u32 = u32::MAX;

/// Twice each of two numbers.
fn file() -> Vec<u8> {
    let nodes = vec![node("Add", &["x", "x"], "y"), node("Add", &["y", "none"], "z")];
    let constants = vec![floats("none", &[1], &[0.0])];
    let (x, z) = (value("x", &[None, Some(2)]), value("z", &[]));
    write::file(graph(vec![x], nodes, constants, vec![z]), &[])
}

fn given(name: &str, digest: u8) -> Given {
    let limits = inference::Limits::for_programs(1 << 20);
    let model = inference::File::read(&file(), &limits).unwrap().model(&limits).unwrap();
    Given { name: name.into(), digest: Digest::from_sha256([digest; 32]), model }
}

/// A cell's memory, and what it has of models.
struct Cell {
    memory: Vec<u8>,
    neural: Neural,
}

impl Cell {
    fn new(memory_bytes: u64) -> Self {
        let mut cell = Self {
            memory: vec![0; 1 << 16],
            neural: Neural::new(vec![given("twice", 1)], memory_bytes),
        };
        cell.put(NAME, b"twice");
        cell.tensor(&[1, 2], 1, &[3.0, 4.0]);
        cell
    }

    fn put(&mut self, at: u32, bytes: &[u8]) {
        self.memory[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    fn tensor(&mut self, dims: &[u32], kind: u8, numbers: &[f32]) {
        let words = [DIMS, dims.len() as u32, u32::from(kind), DATA, 4 * numbers.len() as u32];
        self.put(RECORD, words.map(u32::to_le_bytes).as_flattened());
        let bytes: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        self.put(DIMS, &bytes);
        let bytes: Vec<u8> = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
        self.put(DATA, &bytes);
    }

    fn by_name(&mut self) -> Result<(), Errno> {
        self.neural.load_by_name(&mut self.memory, NAME, 5, RESULT)
    }

    fn context(&mut self, graph: u32) -> Result<(), Errno> {
        self.neural.init_execution_context(&mut self.memory, graph, RESULT)
    }

    fn set(&mut self, context: u32) -> Result<(), Errno> {
        self.neural.set_input(&mut self.memory, context, 0, RECORD)
    }

    fn compute(&mut self, context: u32) -> Result<(), Errno> {
        let answer = self.neural.begin(context)?.run();
        self.neural.end(context, answer)
    }

    fn output(&mut self, room: u32) -> Result<(), Errno> {
        self.neural.get_output(&mut self.memory, 0, 0, DATA, room, RESULT)
    }
}

#[test]
fn wrong_arguments_are_told_by_number_and_change_nothing() {
    let mut cell = Cell::new(1 << 20);
    let load = |cell: &mut Cell, count, encoding, target, result| {
        cell.neural.load(&mut cell.memory, 0, count, encoding, target, result)
    };
    assert_eq!(load(&mut cell, 1, 0, 0, RESULT), Err(Errno::InvalidEncoding), "OpenVINO");
    assert_eq!(load(&mut cell, 1, 1, 1, RESULT), Err(Errno::UnsupportedOperation), "a GPU");
    assert_eq!(load(&mut cell, 1, 1, 9, RESULT), Err(Errno::InvalidArgument), "no device");
    assert_eq!(load(&mut cell, 2, 1, 0, RESULT), Err(Errno::InvalidArgument), "two pieces");
    assert_eq!(load(&mut cell, 1, 1, 0, LARGEST), Err(Errno::InvalidArgument), "nowhere");
    assert_eq!(load(&mut cell, 1, 1, 0, RESULT), Err(Errno::InvalidEncoding), "no bytes");
    let at = |name, length| (name, length);
    for (name, length) in [at(NAME, 4), at(NAME, LARGEST), at(0, 5)] {
        let said = cell.neural.load_by_name(&mut cell.memory, name, length, RESULT);
        assert_eq!(said, Err(Errno::NotFound));
    }
    let said = cell.neural.load_by_name(&mut cell.memory, LARGEST, 5, RESULT);
    assert_eq!(said, Err(Errno::InvalidArgument));
    assert_eq!(cell.context(0), Err(Errno::InvalidArgument), "nothing is loaded");
    cell.by_name().unwrap();
    assert_eq!(cell.set(0), Err(Errno::InvalidArgument), "no context");
    cell.context(0).unwrap();
    assert_eq!(cell.compute(0), Err(Errno::InvalidArgument), "nothing is set");
    assert_eq!(cell.output(8), Err(Errno::RuntimeError), "nothing is computed");

    let set = |cell: &mut Cell, dims: &[u32], kind, numbers: &[f32]| {
        cell.tensor(dims, kind, numbers);
        cell.set(0)
    };
    assert_eq!(set(&mut cell, &[2, 1], 1, &[1.0; 2]), Err(Errno::InvalidArgument));
    assert_eq!(set(&mut cell, &[1, 2], 0, &[1.0; 2]), Err(Errno::UnsupportedOperation));
    assert_eq!(set(&mut cell, &[1, 2], 4, &[1.0; 2]), Err(Errno::InvalidArgument));
    assert_eq!(set(&mut cell, &[1, 2], 77, &[1.0; 2]), Err(Errno::InvalidArgument));
    assert_eq!(set(&mut cell, &[1, 2], 1, &[1.0; 3]), Err(Errno::InvalidArgument));
    cell.put(RECORD + 4, &LARGEST.to_le_bytes());
    assert_eq!(cell.set(0), Err(Errno::InvalidArgument), "dimensions without end");
    for record in [LARGEST, LARGEST - 12, 1 << 16] {
        let said = cell.neural.set_input(&mut cell.memory, 0, 0, record);
        assert_eq!(said, Err(Errno::InvalidArgument));
    }
    assert_eq!(cell.compute(0), Err(Errno::InvalidArgument), "still nothing is set");

    set(&mut cell, &[1, 2], 1, &[3.0, 4.0]).unwrap();
    cell.compute(0).unwrap();
    assert_eq!(cell.output(7), Err(Errno::TooLarge));
    cell.output(8).unwrap();
    assert_eq!(cell.memory[DATA as usize..][..8], [6.0_f32, 8.0].map(f32::to_le_bytes).concat());
}

#[test]
fn a_cell_has_so_many_graphs_and_contexts_and_so_much_memory() {
    let mut cell = Cell::new(1 << 20);
    for _ in 0..super::GRAPHS_MAX {
        cell.by_name().unwrap();
    }
    assert_eq!(cell.by_name(), Err(Errno::TooLarge));
    for _ in 0..super::CONTEXTS_MAX {
        cell.context(0).unwrap();
    }
    assert_eq!(cell.context(0), Err(Errno::TooLarge));

    let needs = given("twice", 1).model.memory_bytes();
    let mut small = Cell::new(needs + 20);
    small.by_name().unwrap();
    small.context(0).unwrap();
    assert_eq!(small.context(0), Err(Errno::TooLarge), "16 bytes more");
    assert_eq!(small.neural.load_bytes(file()), Err(Errno::TooLarge));
}

#[test]
fn while_it_computes_a_context_is_busy() {
    let mut cell = Cell::new(1 << 20);
    cell.by_name().unwrap();
    cell.context(0).unwrap();
    cell.set(0).unwrap();

    let job = cell.neural.begin(0).unwrap();

    assert_eq!(cell.set(0), Err(Errno::Busy));
    assert_eq!(cell.compute(0), Err(Errno::Busy));
    cell.neural.end(0, job.run()).unwrap();
    cell.output(8).unwrap();
}

#[test]
fn answers_that_are_computed_at_once_have_memory_each() {
    let needs = given("twice", 1).model.memory_bytes();
    let mut cell = Cell::new(2 * needs + 48);
    cell.by_name().unwrap();
    for context in 0..3 {
        cell.context(0).unwrap();
        cell.set(context).unwrap();
    }
    let before = cell.neural.taken_bytes;

    let jobs = [cell.neural.begin(0).unwrap(), cell.neural.begin(1).unwrap()];

    assert_eq!(cell.neural.taken_bytes, before + needs);
    assert_eq!(cell.compute(2), Err(Errno::Busy), "there is room for two");
    for (context, job) in (0..).zip(jobs) {
        cell.neural.end(context, job.run()).unwrap();
    }
    assert_eq!(cell.neural.taken_bytes, before);
    cell.compute(2).unwrap();
}

#[test]
fn a_cell_has_no_more_than_a_snapshot_takes() {
    let mut cell = Cell::new(1 << 40);
    cell.by_name().unwrap();
    cell.neural.load_bytes(file()).unwrap();
    cell.context(0).unwrap();
    let carried = file().len() as u64 + 16;
    assert_eq!(cell.neural.carry(super::CARRIED_MAX_BYTES - carried + 1, 0), Err(Errno::TooLarge));

    cell.neural.carry(super::CARRIED_MAX_BYTES - carried - 16, 0).unwrap();

    cell.context(0).unwrap();
    assert_eq!(cell.context(0), Err(Errno::TooLarge));
    let padded = [file(), vec![0; super::CARRIED_MAX_BYTES as usize]].concat();
    assert_eq!(cell.neural.load_bytes(padded), Err(Errno::TooLarge));
}

#[test]
fn an_image_restores_what_was_there_within_what_is_granted() {
    let mut cell = Cell::new(1 << 20);
    assert_eq!(cell.neural.image(), None, "nothing was loaded");
    cell.by_name().unwrap();
    cell.neural.load_bytes(file()).unwrap();
    cell.context(0).unwrap();
    cell.context(1).unwrap();
    cell.set(1).unwrap();
    cell.set(0).unwrap();
    cell.compute(0).unwrap();
    let image = cell.neural.image().unwrap();
    let restore =
        |given: Vec<Given>, memory_bytes| Neural::restore(image.clone(), given, memory_bytes);

    let again = restore(vec![given("twice", 1)], 1 << 20).unwrap();
    assert_eq!(again.image().unwrap(), image);
    assert_eq!(again.taken_bytes, cell.neural.taken_bytes);
    let other = restore(vec![given("twice", 2)], 1 << 20).unwrap().image().unwrap();
    assert_ne!(other, image, "what was computed with another file is gone");
    let refused = |given, memory_bytes| restore(given, memory_bytes).unwrap_err().to_string();
    assert!(refused(vec![given("thrice", 1)], 1 << 20).contains("`twice`"));
    let short = cell.neural.taken_bytes - 1;
    assert!(refused(vec![given("twice", 1)], short).contains("more than the memory"));
}

/// Whatever an image says, it is restored or refused.
#[test]
fn bent_images_are_refused_or_restored() {
    let mut cell = Cell::new(1 << 20);
    cell.by_name().unwrap();
    cell.context(0).unwrap();
    cell.set(0).unwrap();
    cell.compute(0).unwrap();
    let whole = postcard::to_stdvec(&cell.neural.image().unwrap()).unwrap();
    for at in 0..whole.len() {
        for bit in [0x01, 0x10, 0x80] {
            let mut bent = whole.clone();
            bent[at] ^= bit;
            if let Ok(image) = postcard::from_bytes(&bent) {
                let _ = Neural::restore(image, vec![given("twice", 1)], 1 << 20);
            }
        }
    }
}
