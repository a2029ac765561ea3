//! What each atomic instruction is for one thread.
//!
//! Instructions are bytes here, numbered as in the specification and its threads proposal. The
//! operands are taken off the stack into temporaries; what is accessed and how stays in the bytes
//! that it was in (alignment, memory and offset), so that it cannot change.

use super::TwinError;
use wasmparser::BinaryReader;

/// Further locals of a function that has atomic instructions: how many, and of which type.
pub(super) const TEMPORARIES: [(u8, u8); 2] = [(4, I32), (3, I64)];
/// Their numbers, counted from the first: the address, then a value, what is expected and what was
/// there, of either type.
const ADDRESS: u32 = 0;
const VALUE: [u32; 2] = [1, 4];
const EXPECTED: [u32; 2] = [2, 5];
const OLD: [u32; 2] = [3, 6];

const I32: u8 = 0x7f;
const I64: u8 = 0x7e;
const NO_RESULT: u8 = 0x40;

const UNREACHABLE: u8 = 0x00;
const IF: u8 = 0x04;
const ELSE: u8 = 0x05;
const END: u8 = 0x0b;
const DROP: u8 = 0x1a;
const LOCAL_GET: u8 = 0x20;
const LOCAL_SET: u8 = 0x21;
const LOCAL_TEE: u8 = 0x22;
const I32_CONST: u8 = 0x41;
const I64_CONST: u8 = 0x42;
const I32_ADD: u8 = 0x6a;
const I32_AND: u8 = 0x71;
const I64_LESS_SIGNED: u8 = 0x53;
/// By type, as everything in pairs.
const AND: [u8; 2] = [I32_AND, 0x83];
const EQUAL: [u8; 2] = [0x46, 0x51];
const CONST: [u8; 2] = [I32_CONST, I64_CONST];

/// The seven accesses, in the order in which the proposal numbers them: whether the value is an
/// i64, bytes in memory, the plain load and the plain store.
const ACCESSES: [Access; 7] = [
    Access { long: false, bytes: 4, load: 0x28, store: 0x36 },
    Access { long: true, bytes: 8, load: 0x29, store: 0x37 },
    Access { long: false, bytes: 1, load: 0x2d, store: 0x3a },
    Access { long: false, bytes: 2, load: 0x2f, store: 0x3b },
    Access { long: true, bytes: 1, load: 0x31, store: 0x3c },
    Access { long: true, bytes: 2, load: 0x33, store: 0x3d },
    Access { long: true, bytes: 4, load: 0x35, store: 0x3e },
];

/// What a read-modify-write computes, in the order of the numbers; `None` exchanges.
const OPERATIONS: [Option<[u8; 2]>; 6] = [
    Some([I32_ADD, 0x7c]),
    Some([0x6b, 0x7d]),
    Some(AND),
    Some([0x72, 0x84]),
    Some([0x73, 0x85]),
    None,
];

#[derive(Debug, Clone, Copy)]
struct Access {
    long: bool,
    bytes: u8,
    load: u8,
    store: u8,
}

impl Access {
    fn ty(self) -> usize {
        usize::from(self.long)
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Fence,
    Notify,
    Wait(Access),
    Load(Access),
    Store(Access),
    Modify(Access, Option<[u8; 2]>),
    CompareExchange(Access),
}

/// An atomic instruction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Atomic<'a> {
    kind: Kind,
    /// Alignment, memory and offset, as they are written.
    place: &'a [u8],
    offset: u64,
}

impl<'a> Atomic<'a> {
    /// Reads the instruction that these bytes are, which stand at this offset.
    pub(super) fn read(bytes: &'a [u8], offset: usize) -> Result<Self, TwinError> {
        let mut reader = BinaryReader::new(bytes, offset);
        reader.read_u8()?;
        let code = reader.read_var_u32()?;
        let kind = kind(code).ok_or(TwinError::Instruction { code, offset })?;
        let place = bytes.get(reader.original_position() - offset..).unwrap_or_default();
        let mut offset = 0;
        if !matches!(kind, Kind::Fence) {
            /// Says that the number of a memory follows.
            const OTHER_MEMORY: u32 = 1 << 6;
            if reader.read_var_u32()? & OTHER_MEMORY != 0 {
                reader.read_var_u32()?;
            }
            offset = reader.read_var_u64()?;
        }
        Ok(Self { kind, place, offset })
    }

    /// Alignment, memory and offset, as they are written.
    pub(super) fn place(&self) -> &'a [u8] {
        self.place
    }

    /// Whether its plain form needs further locals.
    pub(super) fn uses_temporaries(self) -> bool {
        match self.kind {
            Kind::Fence => false,
            Kind::Load(access) | Kind::Store(access) => access.bytes > 1,
            _ => true,
        }
    }

    /// Writes what it is for one thread; temporaries begin at this local. Gives where the trap is
    /// of a wait without end.
    pub(super) fn lower(self, first: u32, code: &mut Vec<u8>) -> Option<usize> {
        let mut plain = Plain { code, first, atomic: self };
        match self.kind {
            Kind::Fence => {}
            Kind::Notify => plain.notify(),
            Kind::Wait(access) => return Some(plain.wait(access)),
            Kind::Load(access) => plain.load(access),
            Kind::Store(access) => plain.store(access),
            Kind::Modify(access, operation) => plain.modify(access, operation),
            Kind::CompareExchange(access) => plain.compare_exchange(access),
        }
        None
    }
}

fn kind(code: u32) -> Option<Kind> {
    let word = |long: bool| ACCESSES[usize::from(long)];
    let access = |first: u32| ACCESSES[((code - first) % 7) as usize];
    Some(match code {
        0x00 => Kind::Notify,
        0x01 => Kind::Wait(word(false)),
        0x02 => Kind::Wait(word(true)),
        0x03 => Kind::Fence,
        0x10..=0x16 => Kind::Load(access(0x10)),
        0x17..=0x1d => Kind::Store(access(0x17)),
        0x1e..=0x47 => Kind::Modify(access(0x1e), OPERATIONS[((code - 0x1e) / 7) as usize]),
        0x48..=0x4e => Kind::CompareExchange(access(0x48)),
        _ => return None,
    })
}

/// Plain instructions in the making.
struct Plain<'a, 'b> {
    code: &'a mut Vec<u8>,
    first: u32,
    atomic: Atomic<'b>,
}

impl Plain<'_, '_> {
    fn local(&mut self, instruction: u8, temporary: u32) {
        self.code.push(instruction);
        leb128(self.code, i64::from(self.first.saturating_add(temporary)), false);
    }

    fn constant(&mut self, ty: usize, value: i64) {
        self.code.push(CONST[ty]);
        leb128(self.code, value, true);
    }

    /// Loads or stores where the atomic instruction does.
    fn access(&mut self, instruction: u8) {
        self.code.push(instruction);
        self.code.extend_from_slice(self.atomic.place);
    }

    /// Notes the address and traps if the access is not aligned, as atomic ones do. The address
    /// stays on the stack.
    fn address(&mut self, bytes: u8) {
        self.local(LOCAL_TEE, ADDRESS);
        if bytes == 1 {
            return;
        }
        let mask = i64::from(bytes) - 1;
        self.local(LOCAL_GET, ADDRESS);
        let misplaced = self.atomic.offset as i64 & mask;
        if misplaced != 0 {
            self.constant(0, misplaced);
            self.code.push(I32_ADD);
        }
        self.constant(0, mask);
        self.code.extend([I32_AND, IF, NO_RESULT, UNREACHABLE, END]);
    }

    fn load(&mut self, access: Access) {
        if access.bytes > 1 {
            self.address(access.bytes);
        }
        self.access(access.load);
    }

    fn store(&mut self, access: Access) {
        if access.bytes > 1 {
            self.local(LOCAL_SET, VALUE[access.ty()]);
            self.address(access.bytes);
            self.local(LOCAL_GET, VALUE[access.ty()]);
        }
        self.access(access.store);
    }

    fn modify(&mut self, access: Access, operation: Option<[u8; 2]>) {
        let ty = access.ty();
        self.local(LOCAL_SET, VALUE[ty]);
        self.address(access.bytes);
        self.local(LOCAL_GET, ADDRESS);
        self.access(access.load);
        match operation {
            Some(operation) => {
                self.local(LOCAL_TEE, OLD[ty]);
                self.local(LOCAL_GET, VALUE[ty]);
                self.code.push(operation[ty]);
            }
            None => {
                self.local(LOCAL_SET, OLD[ty]);
                self.local(LOCAL_GET, VALUE[ty]);
            }
        }
        self.access(access.store);
        self.local(LOCAL_GET, OLD[ty]);
    }

    /// What is expected counts by as many of its bytes as are in memory.
    fn compare_exchange(&mut self, access: Access) {
        let ty = access.ty();
        self.local(LOCAL_SET, VALUE[ty]);
        self.local(LOCAL_SET, EXPECTED[ty]);
        self.address(access.bytes);
        self.access(access.load);
        self.local(LOCAL_TEE, OLD[ty]);
        self.local(LOCAL_GET, EXPECTED[ty]);
        let bits = u32::from(access.bytes) * 8;
        if bits < if access.long { 64 } else { 32 } {
            self.constant(ty, (1 << bits) - 1);
            self.code.push(AND[ty]);
        }
        self.code.extend([EQUAL[ty], IF, NO_RESULT]);
        self.local(LOCAL_GET, ADDRESS);
        self.local(LOCAL_GET, VALUE[ty]);
        self.access(access.store);
        self.code.push(END);
        self.local(LOCAL_GET, OLD[ty]);
    }

    /// Nobody waits. The load traps where a notification does.
    fn notify(&mut self) {
        self.local(LOCAL_SET, VALUE[0]);
        self.address(4);
        self.access(ACCESSES[0].load);
        self.code.push(DROP);
        self.constant(0, 0);
    }

    /// 1 if another value is there, 2 as if the time had passed; gives where it traps if no time
    /// was to pass.
    fn wait(&mut self, access: Access) -> usize {
        let ty = access.ty();
        self.local(LOCAL_SET, VALUE[1]);
        self.local(LOCAL_SET, EXPECTED[ty]);
        self.address(access.bytes);
        self.access(access.load);
        self.local(LOCAL_GET, EXPECTED[ty]);
        self.code.extend([EQUAL[ty], IF, I32]);
        self.local(LOCAL_GET, VALUE[1]);
        self.constant(1, 0);
        self.code.push(I64_LESS_SIGNED);
        let trap = self.code.len();
        self.code.extend([IF, NO_RESULT, UNREACHABLE, END]);
        self.constant(0, 2);
        self.code.push(ELSE);
        self.constant(0, 1);
        self.code.push(END);
        trap
    }
}

/// A number in seven bits a byte.
fn leb128(code: &mut Vec<u8>, mut value: i64, signed: bool) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        let last = if signed {
            (value == 0 && low & 0x40 == 0) || (value == -1 && low & 0x40 != 0)
        } else {
            value == 0
        };
        if last {
            code.push(low);
            return;
        }
        code.push(low | 0x80);
    }
}
