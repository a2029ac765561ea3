//! The numbers that `mpi.h` gives to programs. A test holds the two together.

#![allow(dead_code, reason = "the whole of the header, whether or not the engine asks for it")]

// Error classes, which are the error codes too.
pub(crate) const SUCCESS: i32 = 0;
pub(crate) const ERR_BUFFER: i32 = 1;
pub(crate) const ERR_COUNT: i32 = 2;
pub(crate) const ERR_TYPE: i32 = 3;
pub(crate) const ERR_TAG: i32 = 4;
pub(crate) const ERR_COMM: i32 = 5;
pub(crate) const ERR_RANK: i32 = 6;
pub(crate) const ERR_ROOT: i32 = 7;
pub(crate) const ERR_GROUP: i32 = 8;
pub(crate) const ERR_OP: i32 = 9;
pub(crate) const ERR_TOPOLOGY: i32 = 10;
pub(crate) const ERR_DIMS: i32 = 11;
pub(crate) const ERR_ARG: i32 = 12;
pub(crate) const ERR_UNKNOWN: i32 = 13;
pub(crate) const ERR_TRUNCATE: i32 = 14;
pub(crate) const ERR_OTHER: i32 = 15;
pub(crate) const ERR_INTERN: i32 = 16;
pub(crate) const ERR_IN_STATUS: i32 = 17;
pub(crate) const ERR_PENDING: i32 = 18;
pub(crate) const ERR_REQUEST: i32 = 19;
pub(crate) const ERR_KEYVAL: i32 = 20;
pub(crate) const ERR_NO_MEM: i32 = 21;
pub(crate) const ERR_BASE: i32 = 22;
pub(crate) const ERR_INFO_KEY: i32 = 23;
pub(crate) const ERR_INFO_VALUE: i32 = 24;
pub(crate) const ERR_INFO_NOKEY: i32 = 25;
pub(crate) const ERR_INFO: i32 = 26;
pub(crate) const ERR_WIN: i32 = 27;
pub(crate) const ERR_SIZE: i32 = 28;
pub(crate) const ERR_DISP: i32 = 29;
pub(crate) const ERR_LOCKTYPE: i32 = 30;
pub(crate) const ERR_ASSERT: i32 = 31;
pub(crate) const ERR_RMA_CONFLICT: i32 = 32;
pub(crate) const ERR_RMA_SYNC: i32 = 33;
pub(crate) const ERR_RMA_RANGE: i32 = 34;
pub(crate) const ERR_NAME: i32 = 35;
pub(crate) const ERR_UNSUPPORTED_OPERATION: i32 = 36;
pub(crate) const ERR_RMA_SHARED: i32 = 37;
pub(crate) const ERR_RMA_ATTACH: i32 = 38;
pub(crate) const ERR_RMA_FLAVOR: i32 = 39;
pub(crate) const ERR_LASTCODE: i32 = 40;

// Wildcards and special ranks.
pub(crate) const ANY_SOURCE: i32 = -1;
pub(crate) const ANY_TAG: i32 = -1;
pub(crate) const PROC_NULL: i32 = -2;
pub(crate) const ROOT: i32 = -3;
pub(crate) const UNDEFINED: i32 = -32766;

// Results of comparisons.
pub(crate) const IDENT: i32 = 0;
pub(crate) const CONGRUENT: i32 = 1;
pub(crate) const SIMILAR: i32 = 2;
pub(crate) const UNEQUAL: i32 = 3;

// Levels of thread support.
pub(crate) const THREAD_SINGLE: i32 = 0;
pub(crate) const THREAD_FUNNELED: i32 = 1;
pub(crate) const THREAD_SERIALIZED: i32 = 2;
pub(crate) const THREAD_MULTIPLE: i32 = 3;

// Communicators and groups.
pub(crate) const COMM_NULL: i32 = 0;
pub(crate) const COMM_WORLD: i32 = 1;
pub(crate) const COMM_SELF: i32 = 2;
pub(crate) const GROUP_NULL: i32 = 0;
pub(crate) const GROUP_EMPTY: i32 = 1;
pub(crate) const COMM_TYPE_SHARED: i32 = 1;

// Other handles.
pub(crate) const REQUEST_NULL: i32 = 0;
pub(crate) const OP_NULL: i32 = 0;
pub(crate) const DATATYPE_NULL: i32 = 0;
pub(crate) const INFO_NULL: i32 = 0;
pub(crate) const INFO_ENV: i32 = 1;
pub(crate) const WIN_NULL: i32 = 0;
pub(crate) const MESSAGE_NULL: i32 = 0;
pub(crate) const MESSAGE_NO_PROC: i32 = 1;
pub(crate) const ERRHANDLER_NULL: i32 = 0;
pub(crate) const ERRORS_ARE_FATAL: i32 = 1;
pub(crate) const ERRORS_RETURN: i32 = 2;
pub(crate) const KEYVAL_INVALID: i32 = 0;

// Datatypes that the engine names itself.
pub(crate) const BYTE: i32 = 4;

// Predefined operations.
pub(crate) const MAX: i32 = 1;
pub(crate) const MIN: i32 = 2;
pub(crate) const SUM: i32 = 3;
pub(crate) const PROD: i32 = 4;
pub(crate) const LAND: i32 = 5;
pub(crate) const BAND: i32 = 6;
pub(crate) const LOR: i32 = 7;
pub(crate) const BOR: i32 = 8;
pub(crate) const LXOR: i32 = 9;
pub(crate) const BXOR: i32 = 10;
pub(crate) const MINLOC: i32 = 11;
pub(crate) const MAXLOC: i32 = 12;
pub(crate) const REPLACE: i32 = 13;
pub(crate) const NO_OP: i32 = 14;

// Predefined attributes.
pub(crate) const TAG_UB: i32 = 1;
pub(crate) const HOST: i32 = 2;
pub(crate) const IO: i32 = 3;
pub(crate) const WTIME_IS_GLOBAL: i32 = 4;
pub(crate) const UNIVERSE_SIZE: i32 = 5;
pub(crate) const LASTUSEDCODE: i32 = 6;
pub(crate) const APPNUM: i32 = 7;
pub(crate) const WIN_BASE: i32 = 8;
pub(crate) const WIN_SIZE: i32 = 9;
pub(crate) const WIN_DISP_UNIT: i32 = 10;
pub(crate) const WIN_CREATE_FLAVOR: i32 = 11;
pub(crate) const WIN_MODEL: i32 = 12;
pub(crate) const WIN_FLAVOR_CREATE: i32 = 1;
pub(crate) const WIN_FLAVOR_ALLOCATE: i32 = 2;
pub(crate) const WIN_FLAVOR_DYNAMIC: i32 = 3;
pub(crate) const WIN_UNIFIED: i32 = 2;

// Topologies.
pub(crate) const GRAPH: i32 = 1;
pub(crate) const CART: i32 = 2;
pub(crate) const DIST_GRAPH: i32 = 3;

// Lock types.
pub(crate) const LOCK_EXCLUSIVE: i32 = 1;
pub(crate) const LOCK_SHARED: i32 = 2;

// Assertions that mean something here.
pub(crate) const MODE_NOSUCCEED: i32 = 16;

// Storage orders.
pub(crate) const ORDER_C: i32 = 0;
pub(crate) const ORDER_FORTRAN: i32 = 1;

// Type constructors.
pub(crate) const COMBINER_NAMED: i32 = 0;
pub(crate) const COMBINER_DUP: i32 = 1;
pub(crate) const COMBINER_CONTIGUOUS: i32 = 2;
pub(crate) const COMBINER_VECTOR: i32 = 3;
pub(crate) const COMBINER_HVECTOR: i32 = 4;
pub(crate) const COMBINER_INDEXED: i32 = 5;
pub(crate) const COMBINER_HINDEXED: i32 = 6;
pub(crate) const COMBINER_INDEXED_BLOCK: i32 = 7;
pub(crate) const COMBINER_HINDEXED_BLOCK: i32 = 8;
pub(crate) const COMBINER_STRUCT: i32 = 9;
pub(crate) const COMBINER_SUBARRAY: i32 = 10;
pub(crate) const COMBINER_RESIZED: i32 = 11;
pub(crate) const COMBINER_DARRAY: i32 = 12;

// Distributions of arrays.
pub(crate) const DISTRIBUTE_NONE: i32 = 0;
pub(crate) const DISTRIBUTE_BLOCK: i32 = 1;
pub(crate) const DISTRIBUTE_CYCLIC: i32 = 2;
pub(crate) const DISTRIBUTE_DFLT_DARG: i32 = -1;

// Classes of datatypes.
pub(crate) const TYPECLASS_REAL: i32 = 1;
pub(crate) const TYPECLASS_INTEGER: i32 = 2;
pub(crate) const TYPECLASS_COMPLEX: i32 = 3;

// Lengths of strings with their zero.
pub(crate) const MAX_PROCESSOR_NAME: i32 = 128;
pub(crate) const MAX_ERROR_STRING: i32 = 256;
pub(crate) const MAX_OBJECT_NAME: i32 = 128;
pub(crate) const MAX_LIBRARY_VERSION_STRING: i32 = 256;
pub(crate) const MAX_INFO_KEY: i32 = 128;
pub(crate) const MAX_INFO_VAL: i32 = 1024;

// The standard's version, and bounds.
pub(crate) const VERSION: i32 = 3;
pub(crate) const SUBVERSION: i32 = 1;
pub(crate) const BSEND_OVERHEAD: i32 = 64;
pub(crate) const TAG_MAX: i32 = 2147483647;

/// Function pointers that stand for behaviour of our own: `MPI_COMM_DUP_FN` and its kind.
pub(crate) const DUP_FN: u32 = 0xffff_fffe;
/// `MPI_IN_PLACE`.
pub(crate) const IN_PLACE: u32 = 0xffff_ffff;
/// `MPI_UNWEIGHTED`.
pub(crate) const UNWEIGHTED: u32 = 0xffff_fffd;
/// `MPI_STATUS_IGNORE` and `MPI_STATUSES_IGNORE`.
pub(crate) const STATUS_IGNORE: u32 = 0;
/// `MPI_ERRCODES_IGNORE`, `MPI_ARGV_NULL` and other absent pointers.
pub(crate) const NULL: u32 = 0;
/// Bytes of an `MPI_Status`.
pub(crate) const STATUS_BYTES: u32 = 24;
