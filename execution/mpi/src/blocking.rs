//! Which functions may wait.

/// The functions that may wait, or that programs call again and again until something is there.
///
/// [`Abort::Stopped`](crate::Abort::Stopped) comes from these alone: they are the imports that a
/// guest must be able to leave and make again.
pub const BLOCKING: &[&str] = &[
    "MPI_Init",
    "MPI_Init_thread",
    "MPI_Finalize",
    "MPI_Send",
    "MPI_Ssend",
    "MPI_Bsend",
    "MPI_Rsend",
    "MPI_Recv",
    "MPI_Sendrecv",
    "MPI_Sendrecv_replace",
    "MPI_Probe",
    "MPI_Iprobe",
    "MPI_Mprobe",
    "MPI_Improbe",
    "MPI_Mrecv",
    "MPI_Buffer_detach",
    "MPI_Wait",
    "MPI_Test",
    "MPI_Request_get_status",
    "MPI_Waitall",
    "MPI_Testall",
    "MPI_Waitany",
    "MPI_Testany",
    "MPI_Waitsome",
    "MPI_Testsome",
    "MPI_Comm_dup",
    "MPI_Comm_dup_with_info",
    "MPI_Comm_idup",
    "MPI_Comm_create",
    "MPI_Comm_create_group",
    "MPI_Comm_split",
    "MPI_Comm_split_type",
    "MPI_Comm_disconnect",
    "MPI_Cart_create",
    "MPI_Cart_sub",
    "MPI_Graph_create",
    "MPI_Dist_graph_create",
    "MPI_Dist_graph_create_adjacent",
    "MPI_Barrier",
    "MPI_Bcast",
    "MPI_Gather",
    "MPI_Gatherv",
    "MPI_Scatter",
    "MPI_Scatterv",
    "MPI_Allgather",
    "MPI_Allgatherv",
    "MPI_Alltoall",
    "MPI_Alltoallv",
    "MPI_Alltoallw",
    "MPI_Neighbor_allgather",
    "MPI_Neighbor_allgatherv",
    "MPI_Neighbor_alltoall",
    "MPI_Neighbor_alltoallv",
    "MPI_Neighbor_alltoallw",
    "MPI_Reduce",
    "MPI_Allreduce",
    "MPI_Reduce_scatter",
    "MPI_Reduce_scatter_block",
    "MPI_Scan",
    "MPI_Exscan",
    "MPI_Win_create",
    "MPI_Win_allocate",
    "MPI_Win_create_dynamic",
    "MPI_Win_free",
    "MPI_Put",
    "MPI_Get",
    "MPI_Accumulate",
    "MPI_Get_accumulate",
    "MPI_Fetch_and_op",
    "MPI_Compare_and_swap",
    "MPI_Win_fence",
    "MPI_Win_lock",
    "MPI_Win_unlock",
    "MPI_Win_lock_all",
    "MPI_Win_unlock_all",
    "MPI_Win_flush",
    "MPI_Win_flush_local",
    "MPI_Win_flush_all",
    "MPI_Win_flush_local_all",
    "MPI_Win_sync",
    "MPI_Win_post",
    "MPI_Win_start",
    "MPI_Win_complete",
    "MPI_Win_wait",
    "MPI_Win_test",
];

/// Whether a function is one of [`BLOCKING`].
pub(crate) const fn may_block(function: &str) -> bool {
    let mut place = 0;
    while place < BLOCKING.len() {
        if same(BLOCKING[place].as_bytes(), function.as_bytes()) {
            return true;
        }
        place += 1;
    }
    false
}

const fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut place = 0;
    while place < left.len() {
        if left[place] != right[place] {
            return false;
        }
        place += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_that_may_block_exists() {
        for name in BLOCKING {
            assert!(crate::FUNCTIONS.contains(name), "{name}");
        }
        assert!(may_block("MPI_Waitall") && !may_block("MPI_Irecv") && !may_block("MPI_Wait "));
    }
}
